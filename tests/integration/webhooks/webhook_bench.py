"""The parts of the webhooks process, with a real database, real requests, and a clock that the test moves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from services.webhooks.collect import Collector
from services.webhooks.deliver import Deliverer
from services.webhooks.delivery_store import DatabaseDeliveryStore
from services.webhooks.housekeep import Housekeeping
from services.webhooks.record import Recorder
from services.webhooks.send import Sender
from services.webhooks.settings import WebhooksSettings
from shared.contracts.events import DispatchStarted
from shared.contracts.identifiers import new_id
from shared.core.sessions.repository import record
from shared.core.sessions.tables import SessionRow
from shared.core.webhooks.secrets import SecretBox, new_secret
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow
from shared.core.webhooks.targets import TargetPolicy
from shared.platform.database.database import Database
from shared.platform.lease import Lease
from tests.integration.rows import put_session
from tests.unit.making import FakeClock

STEP = DispatchStarted(attempt=1, max_attempts=3)


def webhooks_settings(**changes: Any) -> WebhooksSettings:
    values: dict[str, Any] = {"webhook_allow_private": True, "webhook_allow_http": True, **changes}
    return WebhooksSettings(**values)


class WebhookBench:
    """One replica. The schedule has no jitter, so that a test can tell when it comes."""

    def __init__(
        self, database: Database, redis: Redis, clock: FakeClock, sender: Sender, settings: WebhooksSettings
    ) -> None:
        self.database = database
        self.clock = clock
        days = settings.webhook_disable_after_days
        recorder = Recorder(disable_after=timedelta(days=days) if days else None, jitter=lambda: 1.0)
        self.deliverer = Deliverer(
            store=DatabaseDeliveryStore(database, settings=settings, recorder=recorder, now=clock),
            transport=sender,
            open_secret=SecretBox(settings.webhook_secrets_key).open,
            now=clock,
            agent="Rollcall/test",
        )
        lease = Lease(database, name="webhooks", holder="test", term=timedelta(seconds=5), now=clock)
        self.collector = Collector(
            database=database, redis=redis, lease=lease, now=clock, deliver_soon=self.deliverer.deliver_soon
        )
        keep = timedelta(days=settings.webhook_retention_days)
        self.housekeeping = Housekeeping(database=database, lease=lease, keep=keep, now=clock)

    async def put_endpoint(self, url: str, **changes: Any) -> WebhookEndpointRow:
        values: dict[str, Any] = {
            "id": new_id(),
            "project": "default",
            "url": url,
            "events": ["*"],
            "secret": new_secret(),
            "collects_from": self.clock() - timedelta(hours=1),
            "created_at": self.clock(),
            "updated_at": self.clock(),
            **changes,
        }
        row = WebhookEndpointRow(**values)
        async with self.database.write() as db:
            db.add(row)
        return row

    async def put_session(self, **changes: Any) -> SessionRow:
        """A session with its first event."""
        return await put_session(self.database, requested_at=self.clock(), **changes)

    async def put_events(self, row: SessionRow, count: int) -> None:
        async with self.database.write() as db:
            for _ in range(count):
                await record(db, row, STEP, now=self.clock())

    async def settle(self) -> None:
        """Send everything that is due now, and record it."""
        while await self.deliverer.deliver_due():
            await self.deliverer.drain(30)

    async def collect_and_settle(self) -> None:
        await self.collector.scan()
        await self.settle()

    async def deliveries(self, endpoint: WebhookEndpointRow | None = None) -> Sequence[WebhookDeliveryRow]:
        query = select(WebhookDeliveryRow).order_by(col(WebhookDeliveryRow.event_id))
        if endpoint is not None:
            query = query.where(col(WebhookDeliveryRow.endpoint_id) == endpoint.id)
        async with self.database.read() as db:
            return (await db.scalars(query)).all()

    async def delivery(self) -> WebhookDeliveryRow:
        """The only one there is."""
        [row] = await self.deliveries()
        return row

    async def endpoint(self, endpoint: WebhookEndpointRow) -> WebhookEndpointRow:
        """As it stands now."""
        async with self.database.read() as db:
            row = await db.get(WebhookEndpointRow, endpoint.id)
        assert row is not None
        return row


@asynccontextmanager
async def webhook_bench(
    database: Database, redis: Redis, clock: FakeClock, **changes: Any
) -> AsyncIterator[WebhookBench]:
    settings = webhooks_settings(**changes)
    sender = Sender(
        policy=TargetPolicy(settings),
        timeout_s=settings.webhook_timeout_s,
        limit=settings.webhook_concurrency,
        now=clock,
    )
    async with sender:
        yield WebhookBench(database, redis, clock, sender, settings)
