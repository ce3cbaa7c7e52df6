"""The sweep: find sessions that a crash or a lost message left behind, or that are due, and enqueue them.

It runs in every verifier; only the one that holds the lease works. Each round, four times a second while any
session is open or not yet closed, else once a second:

1. Ask the database, in one statement, for which of the next four steps there is work.
2. Fail the sessions whose time is over. This comes first, since it needs only the database: callers get an
   answer even if the broker is down.
3. Let waiting sessions go on that can be served now.
4. Enqueue the task of every session that is due, and set its next time. If that task is lost too, the session
   becomes due again.
5. Publish the events that no process has published in time.
6. Once a minute: delete old receipts and idempotency keys, and compare LiveKit's rooms with the sessions.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from kombu.exceptions import KombuError
from redis.exceptions import RedisError
from sqlalchemy import and_, bindparam, delete, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.verifier import metrics
from services.verifier.admit.admission import Admission
from services.verifier.close import collect
from services.verifier.close.collect import Collector
from services.verifier.give_up import give_up
from services.verifier.prove.find_cause import Finding
from services.verifier.repository import Repository
from shared.contracts.causes import Cause
from shared.contracts.events import SessionWaiting
from shared.contracts.sessions import NEXT_TASK, UNDISPATCHED, SessionStatus
from shared.core.admission.wait_queue import is_waiting
from shared.core.livekit.tables import WebhookReceiptRow
from shared.core.sessions.outbox import IS_UNSENT_FOR_LONG, OVERDUE, Relay
from shared.core.sessions.tables import AttemptRow, EventRow, IdempotencyKeyRow, SessionRow
from shared.core.sessions.trace import bound_to
from shared.core.sessions.upkeep import make_due
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import Clock
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import Database, changed
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.database.set_aside import write_what_can_be
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

LEASE = "sweep"
LEASE_TERM = timedelta(seconds=3)
TICK_S = 0.25
# A session that begins is due after a second at the soonest; until then its own task works on it.
IDLE = timedelta(seconds=1)
CHORES = timedelta(minutes=1)
# How long after enqueueing a task again the sweep enqueues it once more.
REQUEUE_AFTER = timedelta(seconds=2)
# The verifier decides at the deadline; the sweep decides only if it doesn't.
GIVE_UP_AFTER = timedelta(seconds=2)
RECEIPTS_KEPT = timedelta(days=1)
_FORGOTTEN_AT_ONCE = 1000
_BATCH = 500


_NOW: Final = bindparam("now", type_=UtcDateTime)
_SCHEDULED: Final = col(SessionRow.next_check_at).is_not(None)
# The negation of `is_claimed`.
_UNCLAIMED: Final = or_(col(SessionRow.claimed_until).is_(None), col(SessionRow.claimed_until) <= _NOW)
_DUE: Final = and_(col(SessionRow.next_check_at) <= _NOW, _UNCLAIMED)
# Sessions that nobody has given up in time.
_OVERDUE: Final = and_(
    _SCHEDULED,
    _UNCLAIMED,
    or_(
        and_(col(SessionRow.status).in_(UNDISPATCHED), col(SessionRow.deadline_at) <= _NOW),
        and_(
            col(SessionRow.status) == SessionStatus.DISPATCHED,
            col(SessionRow.deadline_at) <= bindparam("given_up_since", type_=UtcDateTime),
        ),
    ),
)
# The statements of each round, built once. Their parameters are those of `_moments`.
_QUESTIONS: Final = select(
    exists().where(_SCHEDULED),
    exists().where(_OVERDUE),
    exists().where(_SCHEDULED, is_waiting(_NOW)),
    exists().where(_DUE),
    exists().where(IS_UNSENT_FOR_LONG),
)
_DUE_SESSIONS: Final = (
    select(col(SessionRow.id), col(SessionRow.status))
    .where(_DUE)
    .order_by(col(SessionRow.next_check_at))
    .limit(_BATCH)
)
_OVERDUE_SESSIONS: Final = select(SessionRow).where(_OVERDUE).limit(_BATCH)


def _moments(now: datetime) -> dict[str, datetime]:
    return {"now": now, "given_up_since": now - GIVE_UP_AFTER, "unsent_since": now - OVERDUE}


class _Work(NamedTuple):
    """Whether any session is open or not yet closed, and which steps of a round have something to do."""

    open: bool
    overdue: bool
    waiting: bool
    due: bool
    unpublished: bool


class Sweep:
    """Runs in every verifier; only the one that holds the lease works."""

    def __init__(
        self,
        *,
        database: Database,
        relay: Relay,
        tasks: TaskSender,
        repository: Repository,
        admission: Admission,
        collector: Collector,
        holder: str,
        now: Clock,
    ) -> None:
        self._database = database
        self._relay = relay
        self._tasks = tasks
        self._repository = repository
        self._admission = admission
        self._collector = collector
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now
        self._idle_until: datetime | None = None
        self._had_waiting = False
        self._next_chores: datetime | None = None
        self._next_collection: datetime | None = None

    async def run(self) -> None:
        """Sweep forever. What fails now is tried again in the next round."""
        await every(
            TICK_S,
            self.sweep_if_needed,
            lease=self._lease,
            of=(Exception,),
            note=_note,
            otherwise=self._leave_to_the_holder,
        )

    async def _leave_to_the_holder(self) -> None:
        metrics.sessions_waiting({})

    async def sweep_if_needed(self) -> None:
        """Do one round, unless the last one found nothing open less than a second ago."""
        if self._idle_until is None or self._idle_until <= self._now():
            self._idle_until = None if await self.sweep_once() else self._now() + IDLE

    async def sweep_once(self) -> bool:
        """Do one round now; return whether any session is open, or not yet closed."""
        now = self._now()
        work = await self._find_work(now)
        if work.overdue:
            await self.give_up_overdue(now)
        if work.waiting or self._had_waiting:
            self._had_waiting = work.waiting
            await self._admission.advance()
        if work.due:
            await self.enqueue_due(now)
        if work.unpublished:
            await self._relay.publish_overdue()
        if self._next_chores is None or self._next_chores <= now:
            is_done = await self._forget_what_is_old(now)
            self._next_chores = now + CHORES if is_done else now
        if self._next_collection is None or self._next_collection <= now:
            self._next_collection = now + collect.INTERVAL
            await self._collector.collect()
        return work.open

    async def _find_work(self, now: datetime) -> _Work:
        async with self._database.read() as db:
            return _Work(*(await db.execute(_QUESTIONS, _moments(now))).one())

    async def enqueue_due(self, now: datetime) -> None:
        """Enqueue the task of every session that is due, and set its next time."""
        async with self._database.read() as db:
            found = (await db.execute(_DUE_SESSIONS, _moments(now))).all()
        wanted: dict[str, list[str]] = defaultdict(list)
        for session_id, status in found:
            if (task := NEXT_TASK[SessionStatus(status)]) is not None:
                wanted[task].append(session_id)
        for task, session_ids in wanted.items():
            await self._tasks.send(task, session_ids)
            metrics.session_swept(task, len(session_ids))
            await write_what_can_be(session_ids, partial(self._put_off, now), what="due_session", name=str)

    async def _put_off(self, now: datetime, session_ids: Sequence[str]) -> None:
        async with self._database.write() as db:
            still_due = (col(SessionRow.id).in_(session_ids), col(SessionRow.next_check_at) <= now)
            await make_due(db, *still_due, at=now + REQUEUE_AFTER)

    async def give_up_overdue(self, now: datetime) -> None:
        """Fail the sessions whose time is over."""
        async with self._database.read() as db:
            rows = (await db.scalars(_OVERDUE_SESSIONS, _moments(now))).all()
        for row in rows:
            await write_what_can_be(
                [row], self._give_up, what="overdue_session", name=lambda overdue: str(overdue.id)
            )

    async def _give_up(self, overdue: Sequence[SessionRow]) -> None:
        for row in overdue:
            cause, evidence = await self._why_overdue(row)
            with bound_to(row, attempt=row.attempt):
                await give_up(row, cause, evidence, repository=self._repository)
            self._relay.publish_soon(row.id)

    async def _why_overdue(self, row: SessionRow) -> Finding:
        waited = {"waited_s": round((self._now() - row.requested_at).total_seconds(), 1)}
        async with self._database.read() as db:
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            waiting = await _evidence_of_waiting(db, row) if row.waiting_for else {}
        tried = None if attempt is None or attempt.cause is None else Cause(attempt.cause)
        evidence = dict(attempt.evidence or {}) if attempt is not None else {}
        if row.waiting_for is not None:
            cause = Cause(row.waiting_for)
            seen = evidence if cause is tried else {}
            return cause, {"agent_name": row.agent_name, **waited, **seen, **waiting}
        if tried is not None:
            return tried, evidence
        return Cause.QUEUE_STALLED, {"status": row.status, **waited}

    async def _forget_what_is_old(self, now: datetime) -> bool:
        """Delete a batch of each at a time, so that no request waits for it; return whether that was all."""
        receipts = select(col(WebhookReceiptRow.id)).where(
            col(WebhookReceiptRow.received_at) < now - RECEIPTS_KEPT
        )
        key = (col(IdempotencyKeyRow.project), col(IdempotencyKeyRow.route), col(IdempotencyKeyRow.key))
        keys = select(*key).where(col(IdempotencyKeyRow.expires_at) <= now)
        async with self._database.write() as db:
            old = col(WebhookReceiptRow.id).in_(receipts.limit(_FORGOTTEN_AT_ONCE))
            forgotten = tuple_(*key).in_(keys.limit(_FORGOTTEN_AT_ONCE))
            deleted = (
                await changed(db, delete(WebhookReceiptRow).where(old)),
                await changed(db, delete(IdempotencyKeyRow).where(forgotten)),
            )
        return max(deleted) < _FORGOTTEN_AT_ONCE


def _note(error: Exception) -> None:
    if isinstance(error, (RedisError, KombuError, *DATABASE_ERRORS)):
        log.warning("sweep_interrupted", error=repr(error))
    else:
        log.exception("sweep_failed", exc_info=error)


async def _evidence_of_waiting(db: AsyncSession, row: SessionRow) -> dict[str, Any]:
    began = (
        select(col(EventRow.data))
        .where(col(EventRow.session_id) == row.id, col(EventRow.type) == SessionWaiting.type)
        .order_by(col(EventRow.sequence).desc())
        .limit(1)
    )
    data = await db.scalar(began)
    return {} if data is None else dict(data["evidence"])
