"""Tell an agent that is not to join: its session has moved on or is over, or another job has its attempt."""

import asyncio

from redis.exceptions import RedisError

from services.agent import metrics
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.core.workers.fence import Strings, take_attempt
from shared.platform.logs.logs import get_logger

# A caller waits for the answer: better an agent that may be superfluous than none.
READ_TIMEOUT_S = 0.3

log = get_logger(__name__)


def is_behind(fence: str | bytes | None, attempt: int) -> bool:
    """Whether a fence with this value keeps that attempt out. What can't be read keeps nobody out."""
    if fence is None:
        return False
    if fence == FENCE_CLOSED:
        return True
    return isinstance(fence, str) and fence.isascii() and fence.isdigit() and int(fence) > attempt


async def is_late(order: DispatchOrder, *, redis: Strings) -> bool:
    """Read the session's fence, for at most `READ_TIMEOUT_S`; an unreadable one keeps nobody out."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            fence = await redis.get(fence_key(order.session_id))
    except (RedisError, OSError) as unread:  # asyncio's TimeoutError is an OSError
        _unreadable(unread)
        return False
    return is_behind(fence, order.attempt)


async def is_second(order: DispatchOrder, job_id: str, *, redis: Strings) -> bool:
    """Take the attempt for this job; True if another job has it, which beats. Bounded as `is_late` is."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return not await take_attempt(redis, order.session_id, order.attempt, job_id)
    except (RedisError, OSError) as unread:
        _unreadable(unread)
        return False


def _unreadable(error: Exception) -> None:
    metrics.fence_unreadable()
    log.warning("fence_unreadable", error=repr(error))
