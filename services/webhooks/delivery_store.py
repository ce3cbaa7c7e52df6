"""The deliveries in our database. One process at a time claims a delivery, and only that process records it.

A claim is a lease: if its process dies, another sends the same webhook again, under the same id.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.webhooks.ports import Done, DueDelivery
from services.webhooks.record import Recorder
from services.webhooks.send import Outcome
from services.webhooks.settings import WebhooksSettings
from shared.contracts.events import Envelope, WebhookTested
from shared.contracts.identifiers import EventId
from shared.contracts.webhooks import DeliveryStatus
from shared.core.sessions.tables import EVENT_SOURCE, EventRow
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow, has_status
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, is_of_the_data
from shared.platform.database.set_aside import write_what_can_be
from shared.platform.logs.logs import get_logger

# Added to the time that an attempt may take, for recording it on a busy machine.
_CLAIM_MARGIN: Final = timedelta(seconds=30)

log = get_logger(__name__)

_Endpoint = WebhookEndpointRow
_Delivery = WebhookDeliveryRow


class DatabaseDeliveryStore:
    """See `ports.DeliveryStore`."""

    def __init__(
        self, database: Database, *, settings: WebhooksSettings, recorder: Recorder, now: Clock
    ) -> None:
        self._database = database
        self._settings = settings
        self._recorder = recorder
        self._now = now
        self._projects: dict[str, str] = {}  # endpoints that are busy or were ready
        self._claim_for = timedelta(seconds=settings.webhook_timeout_s) + _CLAIM_MARGIN

    async def settle_and_claim(self, done: Sequence[Done], busy: Mapping[str, int]) -> list[DueDelivery]:
        """See `ports.DeliveryStore.settle_and_claim`."""
        now = self._now()
        # Outcomes that are recorded now affect the endpoint from the next turn on.
        troubled = {one.job.endpoint_id for one in done if one.reply.outcome is not Outcome.DELIVERED}
        ready = [endpoint for endpoint in await self._ready(now) if endpoint.id not in troubled]
        rooms = self._rooms(ready, busy)
        if not done and not rooms:
            return []
        # In the order of the endpoints, so that two processes can't deadlock.
        ordered = sorted(done, key=lambda one: one.job.endpoint_id)
        try:
            return await self._record_and_claim(ordered, rooms, now)
        except DATABASE_ERRORS as error:
            if not ordered or not is_of_the_data(error):
                raise
        await write_what_can_be(
            ordered,
            lambda some: self._record_and_claim(some, [], now),
            what="webhook_outcome",
            name=lambda one: one.job.event_id,
        )
        return []  # the next turn claims

    async def _record_and_claim(
        self, done: Sequence[Done], rooms: Sequence[tuple[WebhookEndpointRow, int]], now: datetime
    ) -> list[DueDelivery]:
        jobs: list[DueDelivery] = []
        async with self._database.write() as db:
            verdicts = [await self._recorder.record(db, one) for one in done]
            for endpoint, room in rooms:
                jobs += await self._claim(db, endpoint, room, now)
        self._recorder.tell(verdicts)
        return jobs

    async def _ready(self, now: datetime) -> Sequence[WebhookEndpointRow]:
        """Return the endpoints that have a due delivery."""
        due = select(col(_Delivery.event_id)).where(
            col(_Delivery.endpoint_id) == col(_Endpoint.id), _due(now)
        )
        rested = or_(col(_Endpoint.paused_until).is_(None), col(_Endpoint.paused_until) <= now)
        query = select(_Endpoint).where(col(_Endpoint.enabled).is_(True), rested, due.exists())
        async with self._database.read() as db:
            return (await db.scalars(query)).all()

    def _rooms(
        self, ready: Sequence[WebhookEndpointRow], busy: Mapping[str, int]
    ) -> list[tuple[WebhookEndpointRow, int]]:
        """Return how many more requests each endpoint may get now; a failing endpoint gets one at a time."""
        left = self._settings.webhook_concurrency - sum(busy.values())
        self._projects |= {endpoint.id: endpoint.project for endpoint in ready}
        of_projects: Counter[str] = Counter()
        for endpoint_id, number in busy.items():
            of_projects[self._projects.get(endpoint_id, "")] += number
        rooms = []
        for endpoint in sorted(ready, key=lambda endpoint: busy.get(endpoint.id, 0)):
            limit = 1 if endpoint.failing_since else self._settings.webhook_endpoint_concurrency
            # Endpoints that hang must not take the places of other projects.
            share = max(1, self._settings.webhook_concurrency // 2) - of_projects[endpoint.project]
            room = min(limit - busy.get(endpoint.id, 0), share, left)
            if room > 0:
                rooms.append((endpoint, room))
                of_projects[endpoint.project] += room
                left -= room
        self._projects = {id_: of for id_, of in self._projects.items() if id_ in busy} | {
            endpoint.id: endpoint.project for endpoint in ready
        }
        return rooms

    async def _claim(
        self, db: AsyncSession, endpoint: WebhookEndpointRow, room: int, now: datetime
    ) -> list[DueDelivery]:
        until = now + self._claim_for
        first = (
            select(col(_Delivery.event_id))
            .where(col(_Delivery.endpoint_id) == endpoint.id, _due(now))
            .order_by(col(_Delivery.next_attempt_at), col(_Delivery.event_id))
            .limit(room)
            .with_for_update(skip_locked=True)
        )
        # Not as a subquery: PostgreSQL may run a subquery more than once, and claim more than there is room
        # for.
        event_ids = (await db.scalars(first)).all()
        claim: Any = (
            update(_Delivery)
            .where(col(_Delivery.endpoint_id) == endpoint.id, col(_Delivery.event_id).in_(event_ids))
            .values(attempts=_Delivery.attempts + 1, claimed_until=until, last_attempt_at=now)
            .returning(
                col(_Delivery.event_id),
                col(_Delivery.attempts),
                col(_Delivery.event_type),
                col(_Delivery.created_at),
            )
            .execution_options(synchronize_session=False)
        )
        claimed = sorted((await db.execute(claim)).all())
        rows = await db.scalars(select(EventRow).where(col(EventRow.id).in_([row[0] for row in claimed])))
        envelopes = {row.id: _envelope(row) for row in rows}
        return [
            DueDelivery(
                endpoint_id=endpoint.id,
                project=endpoint.project,
                event_id=event_id,
                attempts=attempts,
                claimed_until=until,
                url=endpoint.url,
                sealed_secrets=_secrets(endpoint, now),
                endpoint_failing=endpoint.failing_since is not None,
                envelope=(
                    _test_envelope(endpoint.id, event_id, created_at)
                    if event_type == WebhookTested.type
                    else envelopes.get(event_id)
                ),
            )
            for event_id, attempts, event_type, created_at in claimed
        ]


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(
        has_status(DeliveryStatus.PENDING),
        col(_Delivery.next_attempt_at) <= now,
        or_(col(_Delivery.claimed_until).is_(None), col(_Delivery.claimed_until) <= now),
    )


def _secrets(endpoint: WebhookEndpointRow, now: datetime) -> tuple[str, ...]:
    until = endpoint.previous_secret_until
    if endpoint.previous_secret is None or until is None or until <= now:
        return (endpoint.secret,)
    return endpoint.secret, endpoint.previous_secret


def _envelope(row: EventRow) -> Envelope | None:
    try:
        return row.envelope()
    except ValueError as error:  # this delivery is given up, so that it delays no other
        log.error("webhook_event_unreadable", event_id=row.id, type=row.type, error=repr(error))  # noqa: TRY400
        return None


def _test_envelope(endpoint_id: str, event_id: str, time: datetime) -> Envelope:
    event = WebhookTested(endpoint_id=endpoint_id)
    return Envelope(
        id=EventId(event_id),
        source=EVENT_SOURCE,
        type=event.type,
        subject=f"webhook-endpoint/{endpoint_id}",
        time=time,
        severity=event.severity,
        data=event.model_dump(mode="json"),
    )
