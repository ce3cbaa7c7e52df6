"""Put turns on the stream, and have a consumer take them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.platform.redis.streams import publish
from tests.integration.background import in_background
from tests.support.sessions import until
from tests.support.stream_entries import entries_of
from tests.unit.making import T0


async def say(redis: Redis, *turns: TurnFinished) -> None:
    await publish(
        redis, TURNS_STREAM, [wrap(t, session_id=t.session_id, source="tests", time=T0) for t in turns]
    )


@asynccontextmanager
async def consuming(database_url: str, redis_url: str) -> AsyncIterator["asyncio.Task[None]"]:
    settings = TranscriptsSettings(database_url=database_url, redis_url=redis_url)
    async with open_consumer(settings) as consumer, in_background(consumer.run()) as task:
        yield task


async def acknowledged(redis: Redis, entries: int) -> bool:
    try:
        [group] = await redis.xinfo_groups(TURNS_STREAM)
    except Exception:  # the group or the stream is not there yet
        return False
    return bool(group["entries-read"] == entries and group["pending"] == 0)


async def until_acknowledged(redis: Redis, entries: int, task: "asyncio.Task[None] | None" = None) -> None:
    async def done() -> bool:
        if task is not None and task.done():
            task.result()
        return await acknowledged(redis, entries)

    await until(done, what=f"{entries} entries are acknowledged", timeout_s=20)


async def reasons(redis: Redis) -> list[str]:
    return [fields["reason"].split(":")[0] for _, fields in await entries_of(redis, DEAD_LETTERS_STREAM)]


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"transcript_{name}_total") or 0
