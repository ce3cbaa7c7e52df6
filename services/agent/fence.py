"""Tell an agent that comes late: its session has moved on to another attempt, or is over."""

import asyncio

from redis.exceptions import RedisError

from services.agent import metrics
from services.agent.ports import Strings
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.runtime.logs import get_logger

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
        metrics.fence_unreadable()
        log.warning("fence_unreadable", error=repr(unread))
        return False
    return is_behind(fence, order.attempt)
