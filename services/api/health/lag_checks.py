"""Checks of /health apart from the servers: the broker, the workers, delays, and the last proven join."""

from collections.abc import Mapping
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import func, select
from sqlmodel import col

from services.api.health.checks import Ask, Seen
from services.api.health.recent_sessions import read_records
from shared.contracts.keys import TURNS_STREAM
from shared.core.sessions.tables import EventRow
from shared.core.workers.registry import read_fleet
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.redis.stream_upkeep import group_state

# The alerts use the same limits.
OUTBOX_LATE_S: Final = 10.0
TURNS_LATE_S: Final = 30.0


def lag_checks(
    *, database: Database, redis: Redis, tasks: TaskSender, agent_name: str, now: Clock
) -> Mapping[str, Ask]:
    """Return the checks by name."""

    async def broker() -> None:
        await tasks.ping()

    async def workers() -> Seen:
        fleet = await read_fleet(redis)
        none = fleet.why_none(agent_name)
        return Seen(len(fleet.named(agent_name)), "workers", none and str(none[0]))

    async def outbox() -> Seen:
        unpublished = select(func.min(col(EventRow.occurred_at))).where(col(EventRow.published_at).is_(None))
        async with database.read() as db:
            oldest = await db.scalar(unpublished)
        lag_s = 0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())
        return Seen(round(lag_s, 3), "s", "events are not published" if lag_s > OUTBOX_LATE_S else None)

    async def transcripts() -> Seen:
        lag_s = await _turns_lag_s(redis)
        if lag_s is None:
            return Seen(None, "s", "there are turns, and no consumer has ever run")
        return Seen(round(lag_s, 3), "s", "turns are not stored" if lag_s > TURNS_LATE_S else None)

    async def last_join() -> Seen:
        at = (await read_records(database, agent_name=agent_name, now=now())).last_join
        return Seen(None if at is None else round((now() - at).total_seconds(), 3), "s")

    async def last_canary() -> Seen:
        canary = (await read_records(database, agent_name=agent_name, now=now())).canary
        if canary is None:
            return Seen(None, "s")
        warning = None if canary.cause is None else str(canary.cause)
        return Seen(round((now() - canary.at).total_seconds(), 3), "s", warning)

    return {
        "broker": broker,
        "workers": workers,
        "outbox:lag": outbox,
        "transcripts:lag": transcripts,
        "join:age": last_join,
        "canary:age": last_canary,
    }


async def _turns_lag_s(redis: Redis) -> float | None:
    """Return the age of the oldest turn that is not stored; None if there are turns and no consumer group."""
    try:
        groups = await redis.xinfo_groups(TURNS_STREAM)
    except ResponseError:
        return 0.0  # no stream, no turn
    seconds, microseconds = await redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    states = [await group_state(redis, TURNS_STREAM, group["name"], now_ms=now_ms) for group in groups]
    return max((state.oldest_age_s for state in states if state is not None), default=None)
