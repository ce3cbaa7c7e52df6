"""Decide whether an agent must not join: its session has moved on, or another job has its attempt."""

import asyncio

from rollcall_agent import metrics
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import FENCE_CLOSED
from shared.core.workers.backend import AttemptBackend, Backend
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

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


def attempt_of(order: DispatchOrder, backend: Backend) -> AttemptBackend:
    """What may be asked about the attempt of an order."""
    return backend.attempt(order.session_id, order.attempt, order.credential)


class BackendFences:
    """The fences as a backend has them; see `rollcall_agent.ports.Fences`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def is_late(self, order: DispatchOrder) -> bool:
        """See `Fences`. A fence that can't be read within `READ_TIMEOUT_S` keeps nobody out."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                fence = await attempt_of(order, self._backend).read_fence()
        except UNREACHABLE as unread:  # asyncio's TimeoutError is an OSError
            _unreadable(unread)
            return False
        return is_behind(fence, order.attempt)

    async def is_second(self, order: DispatchOrder, job_id: str) -> bool:
        """See `Fences`. Bounded like `is_late`."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return not await attempt_of(order, self._backend).take(job_id)
        except UNREACHABLE as unread:
            _unreadable(unread)
            return False


def _unreadable(error: Exception) -> None:
    metrics.fence_unreadable()
    log.warning("fence_unreadable", error=repr(error))
