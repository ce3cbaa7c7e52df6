"""Build the webhooks process from its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from services.webhooks.collect import Collector
from services.webhooks.deliver import Deliverer
from services.webhooks.delivery_store import DatabaseDeliveryStore
from services.webhooks.housekeep import Housekeeping
from services.webhooks.record import Recorder
from services.webhooks.schedule import some_jitter
from services.webhooks.send import Sender
from services.webhooks.settings import WebhooksSettings
from shared.core.database_ready import unready
from shared.core.webhooks.secrets import SecretBox
from shared.core.webhooks.targets import TargetPolicy
from shared.platform.background import running
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.http.probe import start_probe
from shared.platform.lease import Lease
from shared.platform.process import process_name, rollcall_version
from shared.platform.redis.client import connect_redis

LEASE: Final = "webhooks"
LEASE_TERM: Final = timedelta(seconds=5)
# When the process is told to stop, requests that are being sent may take this long.
DRAIN_S: Final = 2.5


@asynccontextmanager
async def open_webhooks(settings: WebhooksSettings) -> AsyncIterator[Deliverer]:
    """Build everything in the running loop, run it, and close it at the end of the block."""
    secrets = SecretBox(settings.webhook_secrets_key)
    database = Database(settings.database_url)
    redis = connect_redis(settings.redis_url)
    days = settings.webhook_disable_after_days
    recorder = Recorder(disable_after=timedelta(days=days) if days else None, jitter=some_jitter)
    lease = Lease(database, name=LEASE, holder=process_name(), term=LEASE_TERM, now=utc_now)
    sender = Sender(
        policy=TargetPolicy(settings),
        timeout_s=settings.webhook_timeout_s,
        limit=settings.webhook_concurrency,
        now=utc_now,
    )
    probe = await start_probe(settings, ready=lambda: unready(database))
    try:
        async with sender:
            deliverer = Deliverer(
                store=DatabaseDeliveryStore(database, settings=settings, recorder=recorder, now=utc_now),
                transport=sender,
                open_secret=secrets.open,
                now=utc_now,
                agent=f"Rollcall/{rollcall_version()}",
            )
            collector = Collector(
                database=database, redis=redis, lease=lease, now=utc_now, deliver_soon=deliverer.deliver_soon
            )
            housekeeping = Housekeeping(
                database=database,
                lease=lease,
                keep=timedelta(days=settings.webhook_retention_days),
                now=utc_now,
            )
            async with (
                lease,
                running(
                    hints=collector.listen,
                    collector=collector.run,
                    deliverer=deliverer.run,
                    housekeeping=housekeeping.run,
                ),
            ):
                yield deliverer
            await deliverer.drain(DRAIN_S)
    finally:
        if probe is not None:
            await probe.cleanup()
        await redis.aclose()
        await database.close()
