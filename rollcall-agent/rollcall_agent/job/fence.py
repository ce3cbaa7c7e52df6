"""Decide whether an agent must not join: its session has moved on, or another job has its attempt."""

import asyncio

from redis.exceptions import RedisError

from rollcall_agent import metrics
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.core.workers.fence import Strings, take_attempt
from shared.platform.logs.logs import get_logger

# A caller waits for the answer, and an extra agent is better than none.
READ_TIMEOUT_S = 0.3

log = get_logger(__name__)


def is_behind(fence: str | bytes | None, attempt: int) -> bool:
    """Return whether a fence of this value keeps the attempt out. An unreadable value keeps nobody out."""
    if fence is None:
        return False
    if fence == FENCE_CLOSED:
        return True
    return isinstance(fence, str) and fence.isascii() and fence.isdigit() and int(fence) > attempt


async def is_late(order: DispatchOrder, *, redis: Strings) -> bool:
    """Return whether the session's fence keeps the attempt out.

    If it can't be read within `READ_TIMEOUT_S`, it keeps nobody out.
    """
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            fence = await redis.get(fence_key(order.session_id))
    except (RedisError, OSError) as unread:  # asyncio's TimeoutError is an OSError
        _unreadable(unread)
        return False
    return is_behind(fence, order.attempt)


async def is_second(order: DispatchOrder, job_id: str, *, redis: Strings) -> bool:
    """Take the attempt for this job; return True if another job that still beats has it.

    Bounded like `is_late`.
    """
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return not await take_attempt(redis, order.session_id, order.attempt, job_id)
    except (RedisError, OSError) as unread:
        _unreadable(unread)
        return False


class RedisFences:
    """The fences in Rollcall's Redis; see `rollcall_agent.ports.Fences`."""

    def __init__(self, redis: Strings) -> None:
        self._redis = redis

    async def is_late(self, order: DispatchOrder) -> bool:
        """See `is_late`."""
        return await is_late(order, redis=self._redis)

    async def is_second(self, order: DispatchOrder, job_id: str) -> bool:
        """See `is_second`."""
        return await is_second(order, job_id, redis=self._redis)


def _unreadable(error: Exception) -> None:
    metrics.fence_unreadable()
    log.warning("fence_unreadable", error=repr(error))
