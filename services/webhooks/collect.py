"""Collect session events for the endpoints that want them: write a delivery for each, once.

The source is session_event, so writing sessions costs nothing more. A hint names a session whose events are
read now. A scan over all events since the cursor finds events whose hint was lost. An event's id is made
before its transaction commits, so the cursor stops where an open transaction may still add events. The
delivery's key drops an event that is read twice.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import ColumnElement, select, text
from sqlmodel import col

from services.webhooks import metrics
from shared.contracts.events import Severity
from shared.contracts.identifiers import first_id, made_at
from shared.contracts.keys import NEWS_CHANNEL
from shared.contracts.webhooks import DeliveryStatus, wants
from shared.core.sessions.tables import EventRow, SessionRow
from shared.core.webhooks.tables import WebhookCursorRow, WebhookDeliveryRow, WebhookEndpointRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database, changed
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.database.insert import insert_into
from shared.platform.database.set_aside import write_what_can_be
from shared.platform.lease import Lease
from shared.platform.logs.logs import get_logger
from shared.platform.redis.hints import hints

log = get_logger(__name__)

SCAN_INTERVAL_S: Final = 2.0
# How far the clocks of two machines may differ.
MARGIN: Final = timedelta(seconds=30)
_SAVE_EVERY: Final = timedelta(seconds=10)
_CURSOR: Final = "session_event"
_BATCH: Final = 1000
_INSERTED_AT_ONCE: Final = 500

_OLDEST_WRITER = text(
    "SELECT min(xact_start) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_xid IS NOT NULL"
)


class Collector:
    """Runs in every replica; only the one that holds the lease works.

    It calls `deliver_soon` when there are new deliveries.
    """

    def __init__(
        self, *, database: Database, redis: Redis, lease: Lease, now: Clock, deliver_soon: Callable[[], None]
    ) -> None:
        self._database = database
        self._redis = redis
        self._lease = lease
        self._now = now
        self._deliver_soon = deliver_soon
        self._endpoints: Sequence[WebhookEndpointRow] = []
        self._handled: set[str] = set()
        self._hinted: set[str] = set()
        self._wake = asyncio.Event()

    async def listen(self) -> None:
        """Receive hints about sessions with new events, forever."""
        async for session_id in hints(self._redis, channel=NEWS_CHANNEL):
            self._hinted.add(session_id)
            self._wake.set()

    async def run(self) -> None:
        """Collect forever. A later scan finds what fails now."""
        time = asyncio.get_running_loop().time
        next_scan = 0.0
        while True:
            self._wake.clear()
            hinted, self._hinted = self._hinted, set()
            try:
                if await self._lease.hold():
                    if hinted:
                        await self.look_at(hinted)
                    if time() >= next_scan:
                        next_scan = time() + SCAN_INTERVAL_S
                        await self.scan()
            except DATABASE_ERRORS as error:
                log.warning("webhook_collection_interrupted", error=repr(error))
                await asyncio.sleep(1)
            await self._wait(next_scan - time())

    async def look_at(self, session_ids: Collection[str]) -> int:
        """Collect the events of these sessions; return how many deliveries are new."""
        if not self._endpoints:
            return 0
        found = await self._events(col(EventRow.session_id).in_(session_ids), limit=None)
        return await self._collect(found)

    async def scan(self) -> int:
        """Collect every event since the cursor, and advance it; return how many deliveries are new."""
        # Read this before the events: so the cursor skips nothing that commits later.
        passed = await self._settled_until()
        await self._learn_endpoints()
        new, after = 0, first_id(await self._begin_at(passed))
        while self._endpoints:
            found = await self._events(col(EventRow.id) > after, limit=_BATCH)
            new += await self._collect(found)
            if len(found) < _BATCH:
                break
            after = found[-1].id
            await self._save(min(passed, made_at(after) or passed))
        await self._save(passed)
        recent = first_id(passed)
        self._handled = {event_id for event_id in self._handled if event_id > recent}
        return new

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    async def _learn_endpoints(self) -> None:
        query = select(WebhookEndpointRow).where(col(WebhookEndpointRow.enabled).is_(True))
        async with self._database.read() as db:
            endpoints = (await db.scalars(query.order_by(col(WebhookEndpointRow.id)))).all()
        if [(e.id, e.updated_at) for e in endpoints] != [(e.id, e.updated_at) for e in self._endpoints]:
            self._handled.clear()  # new endpoints may want events that were already handled
        self._endpoints = endpoints

    async def _settled_until(self) -> datetime:
        """Return the time before which no event can be added any more."""
        now = self._now()
        if self._database.is_sqlite:  # one writer at a time
            return now - MARGIN
        async with self._database.read() as db:
            oldest = await db.scalar(_OLDEST_WRITER)
        return min(now, oldest or now) - MARGIN

    async def _begin_at(self, passed: datetime) -> datetime:
        if not self._endpoints:
            return passed
        wanted_from = min(endpoint.collects_from for endpoint in self._endpoints) - MARGIN
        async with self._database.read() as db:
            cursor = await db.get(WebhookCursorRow, _CURSOR)
        return wanted_from if cursor is None else max(cursor.position, wanted_from)

    async def _save(self, position: datetime) -> None:
        if not self._endpoints:
            return
        async with self._database.read() as db:
            cursor = await db.get(WebhookCursorRow, _CURSOR)
        if cursor is not None and position - cursor.position < _SAVE_EVERY:
            return
        async with self._database.write() as db:
            moved = insert_into(db, WebhookCursorRow).values(name=_CURSOR, position=position)
            moved = moved.on_conflict_do_update(
                index_elements=[col(WebhookCursorRow.name)],
                set_={"position": moved.excluded.position},
                # Another replica that held the lease meanwhile may have advanced further.
                where=col(WebhookCursorRow.position) < moved.excluded.position,
            )
            await db.execute(moved)

    async def _events(self, which: ColumnElement[bool], *, limit: int | None) -> Sequence[Any]:
        columns: list[Any] = [
            col(EventRow.id),
            col(EventRow.session_id),
            col(EventRow.type),
            col(EventRow.severity),
            col(EventRow.occurred_at),
            col(SessionRow.project),
        ]
        query = (
            select(*columns)
            .join(SessionRow, col(SessionRow.id) == col(EventRow.session_id))
            .where(which)
            .order_by(col(EventRow.id))
            .limit(limit)
        )
        async with self._database.read() as db:
            return (await db.execute(query)).all()

    async def _collect(self, events: Sequence[Any]) -> int:
        """Write the deliveries of the events that were not handled yet."""
        fresh = [event for event in events if event.id not in self._handled]
        wanted = [
            _delivery(endpoint, event, self._now())
            for event in fresh
            for endpoint in self._endpoints
            if _is_wanted(endpoint, event)
        ]
        new = await self._insert(wanted) if wanted else 0
        self._handled.update(event.id for event in fresh)
        if new:
            metrics.collected(new)
            self._deliver_soon()
        return new

    async def _insert(self, deliveries: Sequence[dict[str, Any]]) -> int:
        new: list[int] = []
        for start in range(0, len(deliveries), _INSERTED_AT_ONCE):
            some = deliveries[start : start + _INSERTED_AT_ONCE]
            new += await write_what_can_be(
                some, self._insert_some, what="webhook_delivery", name=lambda one: str(one["event_id"])
            )
        return sum(new)

    async def _insert_some(self, deliveries: Sequence[dict[str, Any]]) -> int:
        async with self._database.write() as db:
            written = insert_into(db, WebhookDeliveryRow).values(list(deliveries))
            return await changed(db, written.on_conflict_do_nothing())


def _is_wanted(endpoint: WebhookEndpointRow, event: Any) -> bool:
    if endpoint.project != event.project or event.occurred_at < endpoint.collects_from:
        return False
    return wants(endpoint.events, Severity(endpoint.min_severity), event.type, Severity(event.severity))


def _delivery(endpoint: WebhookEndpointRow, event: Any, now: datetime) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint.id,
        "event_id": event.id,
        "session_id": event.session_id,
        "event_type": event.type,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }
