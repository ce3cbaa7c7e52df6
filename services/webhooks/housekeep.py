"""Housekeeping of deliveries: end those of disabled endpoints, delete old ones, and measure the rest."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, or_, select, tuple_, update
from sqlmodel import col

from services.webhooks import metrics
from shared.contracts.webhooks import DeliveryStatus
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow, has_status
from shared.platform.clock import Clock
from shared.platform.database.database import Database, changed
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

TICK_S: Final = 10.0
_DELETED_AT_ONCE: Final = 1000

_Endpoint = WebhookEndpointRow
_Delivery = WebhookDeliveryRow


class Housekeeping:
    """Runs in every replica: each one measures, and the one that holds the lease cleans up."""

    def __init__(self, *, database: Database, lease: Lease, keep: timedelta, now: Clock) -> None:
        self._database = database
        self._lease = lease
        self._keep = keep
        self._now = now

    async def run(self) -> None:
        """Keep house forever. What fails now is tried again in the next round."""
        await every(
            TICK_S,
            self._tidy_up_and_survey,
            lease=self._lease,
            note=lambda error: log.warning("webhook_housekeeping_interrupted", error=repr(error)),
            otherwise=self.survey,
        )

    async def _tidy_up_and_survey(self) -> bool:
        await self.end_those_of_disabled_endpoints()
        more = await self.delete_old() > 0
        await self.survey()
        return more

    async def end_those_of_disabled_endpoints(self) -> int:
        """Turn pending deliveries to disabled endpoints into dead letters, and return how many."""
        now = self._now()
        disabled = select(col(_Endpoint.id)).where(col(_Endpoint.enabled).is_(False))
        theirs = (
            has_status(DeliveryStatus.PENDING),
            col(_Delivery.endpoint_id).in_(disabled),
            or_(col(_Delivery.claimed_until).is_(None), col(_Delivery.claimed_until) <= now),
        )
        async with self._database.read() as db:
            if await db.scalar(select(col(_Delivery.event_id)).where(*theirs).limit(1)) is None:
                return 0
        statement = update(_Delivery).where(*theirs)
        async with self._database.write() as db:
            ended = await changed(
                db,
                statement.values(
                    status=DeliveryStatus.DEAD,
                    next_attempt_at=None,
                    claimed_until=None,
                    finished_at=now,
                    error="the endpoint is disabled",
                ).execution_options(synchronize_session=False),
            )
        metrics.given_up(ended)
        log.warning("webhooks_of_disabled_endpoints_ended", deliveries=ended)
        return ended

    async def delete_old(self) -> int:
        """Delete one batch of deliveries that ended long ago, and return how many."""
        key = tuple_(col(_Delivery.endpoint_id), col(_Delivery.event_id))
        old = (
            select(col(_Delivery.endpoint_id), col(_Delivery.event_id))
            .where(col(_Delivery.finished_at) < self._now() - self._keep)
            .limit(_DELETED_AT_ONCE)
        )
        async with self._database.read() as db:
            keys = (await db.execute(old)).all()
        if not keys:
            return 0
        async with self._database.write() as db:
            return await changed(db, delete(_Delivery).where(key.in_([tuple(found) for found in keys])))

    async def survey(self) -> None:
        """Set the gauges."""
        pending = select(func.count(), func.min(col(_Delivery.created_at))).where(
            has_status(DeliveryStatus.PENDING)
        )
        dead = select(func.count()).where(has_status(DeliveryStatus.DEAD))
        states = select(col(_Endpoint.enabled), func.count()).group_by(col(_Endpoint.enabled))
        async with self._database.read() as db:
            backlog, oldest = (await db.execute(pending)).one()
            dead_letters = await db.scalar(dead) or 0
            endpoints = {bool(enabled): count for enabled, count in (await db.execute(states)).all()}
        metrics.surveyed(
            backlog=backlog,
            oldest_s=(self._now() - oldest).total_seconds() if oldest else 0.0,
            dead=dead_letters,
            enabled=endpoints.get(True, 0),
            disabled=endpoints.get(False, 0),
        )
