"""Gauge what belongs to no single process: open sessions, the outbox, the fleet, Celery's queues.

Every verifier runs this, but only the one that holds the lease works. The others show none of these gauges,
so that no sum counts twice. A value that can't be read is not shown: unknown is not 0.
"""

from datetime import datetime, timedelta
from typing import Final

from kombu.exceptions import KombuError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlmodel import col

from services.verifier.gauges import gauges
from services.verifier.gauges.queues import Queues
from shared.contracts.keys import DEAD_LETTERS_STREAM
from shared.contracts.sessions import LIVE
from shared.contracts.workers import WorkerHeartbeat
from shared.core.sessions.tables import EventRow, SessionRow
from shared.core.workers.registry import read_fleet
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

LEASE: Final = "gauges"
LEASE_TERM: Final = timedelta(seconds=6)
INTERVAL_S: Final = 1.0
# Every live session has a `next_check_at`, so that column's index spares this query all ended sessions.
_OPEN: Final = (
    select(col(SessionRow.status), col(SessionRow.agent_name), func.count())
    .where(col(SessionRow.next_check_at).is_not(None), col(SessionRow.status).in_(LIVE))
    .group_by(col(SessionRow.status), col(SessionRow.agent_name))
)
_UNPUBLISHED: Final = select(func.count(), func.min(col(EventRow.occurred_at))).where(
    col(EventRow.published_at).is_(None)
)


class Gauger:
    """Looks once a second."""

    def __init__(self, *, database: Database, redis: Redis, queues: Queues, holder: str, now: Clock) -> None:
        self._database = database
        self._redis = redis
        self._queues = queues
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now
        self._lost: set[str] = set()

    async def run(self) -> None:
        """Look forever."""
        await every(
            INTERVAL_S, self._look, lease=self._lease, note=self._note, otherwise=self._leave_to_the_holder
        )

    async def _look(self) -> None:
        await self.look_at_database()
        for look, forget in (
            (self.look_at_fleet, gauges.forget_fleet),
            (self.look_at_queues, gauges.forget_queues),
        ):
            try:
                await look()
            except (RedisError, KombuError, OSError) as error:
                forget()
                log.debug("not_gauged", error=repr(error))

    async def _leave_to_the_holder(self) -> None:
        gauges.forget_all()

    def _note(self, error: Exception) -> None:
        gauges.forget_all()
        log.warning("not_gauged", error=repr(error))

    async def look_at_database(self) -> None:
        """Count the open sessions and the events that are not yet published."""
        async with self._database.read() as db:
            found = (await db.execute(_OPEN)).all()
            number, oldest = (await db.execute(_UNPUBLISHED)).one()
        gauges.sessions_open([(status, name, count) for status, name, count in found])
        gauges.outbox(number, self._age_s(oldest))

    async def look_at_fleet(self) -> None:
        """Count workers and slots, and tell of each lost worker; raises `RedisError` or `OSError`."""
        found = await read_fleet(self._redis)
        gauges.fleet(found.workers, found.lost)
        lost = {worker.worker_id: worker for worker in found.lost}
        for worker_id in lost.keys() - self._lost:
            _tell_of_lost(lost[worker_id])
        self._lost = set(lost)

    async def look_at_queues(self) -> None:
        """Measure Celery's queues and the dead letters; raises `RedisError`, `KombuError` or `OSError`."""
        gauges.dead_letters(int(await self._redis.xlen(DEAD_LETTERS_STREAM)))
        for queue, waiting in (await self._queues.count_waiting()).items():
            gauges.celery_queue(queue, waiting.tasks, waiting.oldest_s)

    def _age_s(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._now() - since).total_seconds())


def _tell_of_lost(worker: WorkerHeartbeat) -> None:
    log.warning(
        "worker_lost",
        message=f"worker {worker.worker_id} on {worker.host} fell silent; LiveKit may still list it",
        worker_id=worker.worker_id,
        agent_name=worker.agent_name,
        deployment=worker.deployment,
        host=worker.host,
        pid=worker.pid,
        last_beat=worker.beat_at.isoformat(),
        sessions=len(worker.sessions),
    )
