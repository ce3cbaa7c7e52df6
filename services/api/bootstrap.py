"""Build the API from its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from livekit import api

from services.api.agent_sockets.beats import BeatWriter
from services.api.auth.bad_keys import BadKeys
from services.api.auth.keyring import Keyring
from services.api.console.logins import Logins
from services.api.deps import Services
from services.api.growth import Growth
from services.api.health.checks import Health
from services.api.health.forecast import Forecast
from services.api.health.lag_checks import lag_checks
from services.api.limits.rates import RateLimits
from services.api.limits.reading import MOST_READERS, Reading
from services.api.live.hub import READS_AT_ONCE, Hub
from services.api.sessions.canary import Canaries
from services.api.settings import ApiSettings
from services.api.token.waiting_visitors import WaitingVisitors
from services.api.transcripts.erase.retention import Housekeeping
from shared.core.sessions.outbox import Relay
from shared.core.webhooks.secrets import SecretBox
from shared.core.webhooks.targets import TargetPolicy
from shared.platform.agent_names import agent_name_proven
from shared.platform.background import Loop, running
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from shared.platform.process import process_name
from shared.platform.redis.client import connect_redis

# For routes that start, end and read single sessions; each takes milliseconds.
MOST_DATABASE_CONNECTIONS: Final = 16
# One for each place, one for each feed that is read at the same time, and one for the poll.
MOST_READING_CONNECTIONS: Final = MOST_READERS + READS_AT_ONCE + 1


@asynccontextmanager
async def open_services(settings: ApiSettings) -> AsyncIterator[Services]:
    """Build everything, run the background tasks, and close it all at the end of the block."""
    for name in {settings.livekit_agent_name, *settings.allowed_agent_names}:
        agent_name_proven(name)
    webhook_secrets = SecretBox(settings.webhook_secrets_key)
    database = Database(settings.database_url, pool_size=MOST_DATABASE_CONNECTIONS)
    reading = Reading(Database(settings.database_url, pool_size=MOST_READING_CONNECTIONS))
    redis = connect_redis(settings.redis_url)
    livekit = LiveKit(settings)
    tasks = TaskSender(make_celery("api", settings.celery_broker_url, queue_type=settings.broker_queue_type))
    relay = Relay(database=database, redis=redis, tasks=tasks)
    keyring = Keyring(database, now=utc_now)
    logins = Logins(database, keyring, now=utc_now)
    hub = Hub(
        reads=reading.database,
        redis=redis,
        now=utc_now,
        captions=settings.captions_allowed,
        max_followers=settings.max_followers,
        max_followers_project=settings.max_followers_project,
        refused_since=logins.refused_since,
    )
    me = process_name()
    housekeeping = Housekeeping(database=database, redis=redis, settings=settings, holder=me, now=utc_now)
    verifier = api.TokenVerifier(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    forecast = Forecast(
        database=database, redis=redis, livekit=livekit, agent_name=settings.livekit_agent_name, now=utc_now
    )
    loops: dict[str, Loop] = {
        "relay": relay.run,
        "forecast": forecast.run,
        "housekeeping": housekeeping.run,
        "growth": Growth(database=database, redis=redis, settings=settings, holder=me, now=utc_now).run,
        **hub.loops,
    }
    if settings.canary_interval_s:
        canaries = Canaries(settings=settings, database=database, relay=relay, holder=me, now=utc_now)
        loops["canary"] = canaries.run
    try:
        async with running(**loops):
            yield Services(
                settings=settings,
                database=database,
                redis=redis,
                reading=reading,
                relay=relay,
                hub=hub,
                health=Health(
                    database=database,
                    redis=redis,
                    livekit=livekit,
                    others=lag_checks(
                        database=database,
                        redis=redis,
                        tasks=tasks,
                        agent_name=settings.livekit_agent_name,
                        now=utc_now,
                    ),
                ),
                forecast=forecast,
                webhook_receiver=api.WebhookReceiver(verifier),
                webhook_targets=TargetPolicy(settings),
                webhook_secrets=webhook_secrets,
                keyring=keyring,
                logins=logins,
                bad_keys=BadKeys(settings.requests_per_minute_bad_key),
                rate_limits=RateLimits(settings, redis),
                waiting_visitors=WaitingVisitors(
                    settings.max_reservations_visitor, redis=redis, database=database
                ),
                job_beats=BeatWriter(redis),
            )
    finally:
        await livekit.close()
        await redis.aclose()
        await database.close()
        await reading.database.close()
        tasks.close()
