"""Hints: "look at this session now". A hint makes a poll come sooner and decides nothing; it may get lost.

`HINTS_CHANNEL` is about the room in LiveKit, and a look at it costs a call. `NEWS_CHANNEL` is about the
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
    """Tell all listeners to look at the session.

    If Redis is down, the hint is lost, and no error is raised.
    """
    try:
        await redis.publish(channel, session_id)
    except (RedisError, OSError) as error:
        log.debug("hint_lost", error=repr(error))


async def give_hints(redis: Redis, session_ids: Iterable[str], *, channel: str) -> None:
    """Like `give_hint`, for several sessions at once."""
    try:
        async with redis.pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.publish(channel, session_id)
            await pipe.execute()
    except (RedisError, OSError) as error:
        log.debug("hints_lost", error=repr(error))


async def hints(redis: Redis, *, channel: str = HINTS_CHANNEL) -> AsyncIterator[str]:
    """Yield session ids forever, and reconnect after every loss of the connection."""
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
