"""Let waiting sessions go on, the oldest first, once a worker or LiveKit can serve them.

The process that holds the sweep's lease runs this in every round. A session that waits for a worker goes on
when there is a slot for it, which is promised to it here. A session that waits for LiveKit goes on when
LiveKit answers. If the registry can't be read for some time, the workers no longer count as full.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from kombu.exceptions import KombuError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlmodel import col

from services.verifier import metrics
from services.verifier.ports import Rooms
from shared.contracts.causes import Cause
from shared.contracts.keys import DISPATCH_TASK, line_name
from shared.core.admission.slots import reserve
from shared.core.admission.wait_queue import FULL, IN_LINE, POOL, is_waiting
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import let_go_on
from shared.core.workers.registry import Fleet, read_fleet
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.livekit.client import NO_SUCH_ROOM, LiveKitError
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Sessions that waited for the same thing go on over many rounds.
MOST_AT_ONCE = 50
# A lost task is enqueued again after this time.
REQUEUE_AFTER = timedelta(seconds=2)
# If the registry can't be read for longer than this, nothing is known about free slots.
UNKNOWN_AFTER = timedelta(seconds=2)
PROBE_INTERVAL = timedelta(seconds=1)
PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Waiting:
    """A waiting session."""

    session_id: str
    requested_at: datetime
    agent_name: str
    pool: str
    waiting_for: Cause

    @property
    def place(self) -> tuple[datetime, str]:
        """The order: older sessions go first."""
        return self.requested_at, self.session_id


class Admission:
    """Admits waiting sessions; `advance` looks at all of them once."""

    def __init__(
        self, *, database: Database, redis: Redis, tasks: TaskSender, rooms: Rooms, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._tasks = tasks
        self._rooms = rooms
        self._now = now
        self._unreadable_since: datetime | None = None
        self._probed_at: datetime | None = None
        self._livekit_answers = False

    async def advance(self) -> int:
        """Let sessions go on that can be served; return how many.

        If the broker is down, the sweep enqueues them later.
        """
        now = self._now()
        waiting = await self._count(now)
        metrics.sessions_waiting(waiting)
        causes = {cause for _, _, cause in waiting}
        if not causes:
            self._unreadable_since = None
            return 0
        if Cause.LIVEKIT_UNREACHABLE in causes:
            await self._probe(now)
        session_ids = await self.let_go(await self.choose(now), now)
        try:
            if session_ids:
                await self._tasks.send(DISPATCH_TASK, session_ids)
        except (KombuError, RedisError, OSError) as error:
            log.warning("admitted_sessions_not_enqueued", sessions=len(session_ids), error=repr(error))
        return len(session_ids)

    async def _count(self, now: datetime) -> dict[tuple[str, str, Cause], int]:
        """How many wait, by agent name, pool and cause."""
        line = (col(SessionRow.agent_name), POOL, col(SessionRow.waiting_for))
        waiting = select(*line, func.count()).where(is_waiting(now)).group_by(*line)
        async with self._database.read() as db:
            counted = (await db.execute(waiting)).all()
        return {(name, pool, Cause(cause or "")): number for name, pool, cause, number in counted}

    async def _first_in_lines(self, now: datetime) -> Sequence[Waiting]:
        """Return the first sessions of each pool's queue, all in the order of their requests."""
        of_line = (col(SessionRow.agent_name), POOL)
        place = func.row_number().over(partition_by=of_line, order_by=IN_LINE)
        lines = (
            select(
                col(SessionRow.id),
                col(SessionRow.requested_at),
                col(SessionRow.agent_name),
                POOL.label("pool"),
                col(SessionRow.waiting_for),
                place.label("place"),
            )
            .where(is_waiting(now))
            .subquery()
        )
        first = (
            select(lines.c.id, lines.c.requested_at, lines.c.agent_name, lines.c.pool, lines.c.waiting_for)
            .where(lines.c.place <= MOST_AT_ONCE)
            .order_by(lines.c.requested_at, lines.c.id)
        )
        async with self._database.read() as db:
            return [Waiting(*found[:4], Cause(found[4])) for found in await db.execute(first)]

    async def choose(self, now: datetime) -> list[Waiting]:
        """Return the sessions that may go on now, in the order of their requests."""
        fleet = await self._read_fleet(now)
        chosen: list[Waiting] = []
        for (name, pool), line in _by_pool(await self._first_in_lines(now)).items():
            # No session overtakes one that waits for LiveKit.
            moving = line if self._livekit_answers else list(takewhile(_waits_for_slot, line))
            slots = await self._slots(name, pool, moving, fleet, now)
            chosen += moving[:slots]
            # It goes on even without a slot: the dispatcher then makes it wait for one, and records that.
            chosen += [one for one in moving[slots:] if not _waits_for_slot(one)]
        return sorted(chosen, key=lambda one: one.place)[:MOST_AT_ONCE]

    async def _slots(
        self, agent_name: str, pool: str, line: Sequence[Waiting], fleet: Fleet | None, now: datetime
    ) -> int:
        """Return how many sessions of the queue, from its first on, have a slot now."""
        if fleet is None:
            unknown = self._unreadable_since is not None and now - self._unreadable_since >= UNKNOWN_AFTER
            return len(line) if unknown else 0
        if not fleet.named(agent_name, pool):
            return len(line)  # the workers are gone, so waiting makes no sense; the verifier finds the cause
        free, served = fleet.free_slots(agent_name, pool), fleet.sessions(agent_name)
        if not line or not free:
            return 0
        ids = [one.session_id for one in line]
        try:
            return await reserve(self._redis, line_name(agent_name, pool), ids, free=free, served=served)
        except (RedisError, OSError):
            return 0

    async def let_go(self, admitted: Sequence[Waiting], now: datetime) -> list[str]:
        """Let these sessions go on; return the ids of those that still waited."""
        if not admitted:
            return []
        these = col(SessionRow.id).in_([one.session_id for one in admitted])
        async with self._database.write() as db:
            # Sessions that were cancelled meanwhile are not among them.
            let_go_ids = await let_go_on(db, these, is_waiting(now), until=now + REQUEUE_AFTER)
        going = [one for one in admitted if one.session_id in let_go_ids]
        for cause, number in Counter(one.waiting_for for one in going).items():
            metrics.sessions_admitted(cause, number)
        return [one.session_id for one in going]

    async def _read_fleet(self, now: datetime) -> Fleet | None:
        try:
            fleet = await read_fleet(self._redis)
        except (RedisError, OSError):
            self._unreadable_since = self._unreadable_since or now
            return None
        self._unreadable_since = None
        return fleet

    async def _probe(self, now: datetime) -> None:
        if self._probed_at is not None and now - self._probed_at < PROBE_INTERVAL:
            return
        self._probed_at = now
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._rooms.room_exists(NO_SUCH_ROOM)
        except TimeoutError:
            self._livekit_answers = False
        except LiveKitError as error:
            # Any other answer counts: the dispatcher finds the fault, and fails the session with it.
            self._livekit_answers = error.cause is not Cause.LIVEKIT_UNREACHABLE
        else:
            self._livekit_answers = True


def _by_pool(waiting: Sequence[Waiting]) -> dict[tuple[str, str], list[Waiting]]:
    lines: dict[tuple[str, str], list[Waiting]] = {}
    for one in waiting:
        lines.setdefault((one.agent_name, one.pool), []).append(one)
    return lines


def _waits_for_slot(one: Waiting) -> bool:
    return one.waiting_for in FULL
