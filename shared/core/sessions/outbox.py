"""The outbox relay: publish committed events, and enqueue the tasks that follow them.

A process that commits a transition tells its own relay, which publishes that session's unsent events at once
and in order. After a crash or an outage of Redis, the sweep publishes the unsent events (`publish_overdue`).
Events are published at least once; readers drop events that they have seen, by session and sequence.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

from kombu.exceptions import KombuError
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Row, and_, bindparam, select, update
from sqlmodel import col

from shared.contracts.events import (
    AgentLost,
    AgentMissing,
    DispatchAccepted,
    Envelope,
    SessionCancelled,
    SessionEnded,
    SessionFailed,
    SessionRequested,
)
from shared.contracts.keys import EVENTS_STREAM, NEWS_CHANNEL
from shared.contracts.sessions import NEXT_TASK, SessionStatus
from shared.core.sessions.tables import EventRow, envelope_of
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import utc_now
from shared.platform.database.columns import UtcDateTime, table_of
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.database.set_aside import write_what_can_be
from shared.platform.logs.logs import get_logger
from shared.platform.redis.hints import give_hints
from shared.platform.redis.streams import publish

log = get_logger(__name__)

# The events after which the next task is enqueued at once, each with the status it leads to. After other
# events, the task that moved the session is still working on it, or the sweep is soon enough.
_HANDED_ON: Final = {
    SessionRequested.type: SessionStatus.REQUESTED,
    AgentMissing.type: SessionStatus.DISPATCHING,
    AgentLost.type: SessionStatus.DISPATCHING,
    DispatchAccepted.type: SessionStatus.DISPATCHED,
    SessionFailed.type: SessionStatus.FAILED,
    SessionEnded.type: SessionStatus.ENDED,
    SessionCancelled.type: SessionStatus.CANCELLED,
}
FOLLOW_UP: Final = {
    event: task for event, status in _HANDED_ON.items() if (task := NEXT_TASK[status]) is not None
}

# Tables and not objects: these two run for every step of every session.
_TABLE: Final = table_of(EventRow)
_UNSENT: Final = (
    select(_TABLE)
    .where(_TABLE.c.session_id.in_(bindparam("ids", expanding=True)), _TABLE.c.published_at.is_(None))
    .order_by(_TABLE.c.session_id, _TABLE.c.sequence)
)
_NOTE_PUBLISHED: Final = (
    update(_TABLE)
    .where(_TABLE.c.id.in_(bindparam("ids", expanding=True)))
    .values(published_at=bindparam("now", type_=_TABLE.c.published_at.type))
)
# A row of `_UNSENT`, with the columns of `EventRow`.
_Event: TypeAlias = "Row[Any]"

# An event that is unsent for longer was not sent by the process that committed it.
OVERDUE = timedelta(seconds=1)
_BATCH = 500
# Events that no process has published in time: `unsent_since` is `OVERDUE` ago.
IS_UNSENT_FOR_LONG: Final = and_(
    col(EventRow.published_at).is_(None),
    col(EventRow.occurred_at) < bindparam("unsent_since", type_=UtcDateTime),
)
_UNSENT_FOR_LONG: Final = (
    select(col(EventRow.session_id)).where(IS_UNSENT_FOR_LONG).order_by(col(EventRow.id)).limit(_BATCH)
)

PUBLISHED = Counter("outbox_events_published_total", "Session events published.")
UNPUBLISHABLE = Counter(
    "outbox_events_unpublishable_total",
    "Session events that could not be written as an envelope, and were left out.",
)
FAILURES = Counter("outbox_publish_failures_total", "Batches of session events that could not be published.")


class Relay:
    """Publishes session events. `publish_soon` never blocks; `run` is a task of the process."""

    def __init__(self, *, database: Database, redis: Redis, tasks: TaskSender) -> None:
        self._database = database
        self._redis = redis
        self._tasks = tasks
        self._waiting: set[str] = set()
        self._wake = asyncio.Event()

    def publish_soon(self, session_id: str) -> None:
        """Note that this session has events to publish."""
        self._waiting.add(session_id)
        self._wake.set()

    async def run(self) -> None:
        """Publish what `publish_soon` names, forever. The sweep publishes what fails."""
        await self._tasks.warm_up()
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, set()
            ids = list(waiting)
            for start in range(0, len(ids), _BATCH):
                await self._try_to_publish(ids[start : start + _BATCH])

    async def publish_overdue(self) -> int:
        """Publish events that no process has sent in time, and return how many; the sweep calls this."""
        async with self._database.read() as db:
            found = await db.scalars(_UNSENT_FOR_LONG, {"unsent_since": utc_now() - OVERDUE})
            ids = list(dict.fromkeys(found.all()))
        return await self.publish_events(ids) if ids else 0

    async def _try_to_publish(self, session_ids: list[str]) -> None:
        try:
            await self.publish_events(session_ids)
        except (RedisError, KombuError, *DATABASE_ERRORS) as error:
            FAILURES.inc()
            log.warning("events_not_published", sessions=len(session_ids), error=repr(error))
        except Exception:  # also left to the sweep: the relay goes on with other sessions
            FAILURES.inc()
            log.exception("events_not_published", sessions=len(session_ids))

    async def publish_events(self, session_ids: Sequence[str]) -> int:
        """Publish the unpublished events of these sessions, each session's in order; return how many.

        Raises a `RedisError`, a `KombuError` or one of `DATABASE_ERRORS`; the events are published later.
        """
        async with self._database.read() as db:
            rows = (await db.execute(_UNSENT, {"ids": session_ids})).all()
        if not rows:
            return 0
        # Tasks first: a caller waits for the agent, while nobody waits for the stream.
        await self._enqueue_follow_ups(rows)
        await publish(self._redis, EVENTS_STREAM, list(_envelopes(rows)))
        told = dict.fromkeys(row.session_id for row in rows)
        await give_hints(self._redis, told, channel=NEWS_CHANNEL)
        await write_what_can_be(rows, self._note_published, what="published_event", name=lambda row: row.id)
        PUBLISHED.inc(len(rows))
        return len(rows)

    async def _note_published(self, rows: Sequence[_Event]) -> None:
        these = {"ids": [row.id for row in rows], "now": utc_now()}
        await self._database.change(_NOTE_PUBLISHED, these)

    async def _enqueue_follow_ups(self, rows: Sequence[_Event]) -> None:
        wanted: dict[str, list[str]] = {}
        last = {row.session_id: row for row in rows if row.type in FOLLOW_UP}
        for row in last.values():
            wanted.setdefault(FOLLOW_UP[row.type], []).append(row.session_id)
        traceparents = {row.session_id: row.traceparent for row in last.values() if row.traceparent}
        for task, session_ids in wanted.items():
            await self._tasks.send(task, session_ids, traceparents)


def _envelopes(rows: Sequence[_Event]) -> Iterator[Envelope]:
    """Return the events' envelopes.

    An event that can't be written as one is left out, and counts as handled.
    """
    for row in rows:
        try:
            yield envelope_of(row)
        except ValueError as error:
            UNPUBLISHABLE.inc()
            log.error("event_unpublishable", session_id=row.session_id, type=row.type, error=repr(error))  # noqa: TRY400
