"""Write a session's fence: the number of its current attempt, or that it is closed.

An agent that reads a later number than its own is late, and stays out of the room.
"""

from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.identifiers import SessionId
from shared.contracts.keys import fence_key
from shared.runtime.logs import get_logger

log = get_logger(__name__)

FENCE_TTL = timedelta(hours=24)


async def set_fence(redis: Redis, session_id: str, value: int | str) -> None:
    """Tell late agents to stay out. Without Redis they join too, and the verifier removes them."""
    try:
        await redis.set(fence_key(SessionId(session_id)), value, ex=FENCE_TTL)
    except (RedisError, OSError) as error:
        log.warning("fence_not_set", error=repr(error))
