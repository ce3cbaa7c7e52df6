"""Build the dispatcher from its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.dispatcher.dispatch import Dispatcher
from services.dispatcher.repository import Repository
from services.dispatcher.settings import DispatcherSettings
from shared.core.sessions.metrics import agent_name_seen
from shared.core.sessions.outbox import Relay
from shared.platform.agent_names import agent_name_proven
from shared.platform.background import running
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from shared.platform.redis.client import connect_redis


@asynccontextmanager
async def open_dispatcher(settings: DispatcherSettings) -> AsyncIterator[Dispatcher]:
    """Build the dispatcher in the running loop, and close it at the end of the block."""
    agent_name_proven(settings.livekit_agent_name)
    agent_name_seen(settings.livekit_agent_name)
    database = Database(settings.database_url)
    redis = connect_redis(settings.redis_url)
    livekit = LiveKit(settings)
    tasks = TaskSender(
        make_celery("dispatcher-relay", settings.celery_broker_url, queue_type=settings.broker_queue_type)
    )
    relay = Relay(database=database, redis=redis, tasks=tasks)
    try:
        async with running(relay=relay.run):
            yield Dispatcher(
                repository=Repository(database, retry_delay_s=settings.dispatch_retry_delay_s, now=utc_now),
                rooms=livekit,
                redis=redis,
                relay=relay,
                settings=settings,
            )
    finally:
        await livekit.close()
        await redis.aclose()
        await database.close()
        tasks.close()
