"""Hints: "look at this session now". They make a poll come sooner and decide nothing; one may be lost.

`HINTS_CHANNEL` is about the room in LiveKit, which costs a call to look at, `NEWS_CHANNEL` about the
session's events and turns in our database.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.keys import HINTS_CHANNEL
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

RECONNECT_DELAY_S = 1.0
_READ_TIMEOUT_S = 1.0


async def give_hint(redis: Redis, session_id: str, *, channel: str = HINTS_CHANNEL) -> None:
    """Tell whoever listens to look at the session; a Redis that is away costs nothing but the hint."""
    try:
        await redis.publish(channel, session_id)
    except (RedisError, OSError) as error:
        log.debug("hint_lost", error=repr(error))


async def give_hints(redis: Redis, session_ids: Iterable[str], *, channel: str) -> None:
    """As `give_hint`, of several sessions at once."""
    try:
        async with redis.pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.publish(channel, session_id)
            await pipe.execute()
    except (RedisError, OSError) as error:
        log.debug("hints_lost", error=repr(error))


async def hints(redis: Redis, *, channel: str = HINTS_CHANNEL) -> AsyncIterator[str]:
    """Yield session ids for ever, over every loss of the connection."""
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(channel)
                while True:
                    message = await subscription.get_message(timeout=_READ_TIMEOUT_S)
                    if message is not None:
                        yield str(message["data"])
        except (RedisError, OSError) as error:
            log.debug("hints_interrupted", error=repr(error))
            await asyncio.sleep(RECONNECT_DELAY_S)
