"""Decide whether an agent must not join: its session has moved on, or another job has its attempt."""

import asyncio

from rollcall_agent import metrics
from rollcall_agent.ports import FAILED, CallRefused
from shared.contracts.dispatching import DispatchOrder
from shared.core.workers.backend import AttemptBackend, Backend
from shared.core.workers.fence import is_behind
from shared.platform.logs.logs import get_logger

# A caller waits for the answer, and an extra agent is better than none.
READ_TIMEOUT_S = 0.3

log = get_logger(__name__)


def attempt_of(order: DispatchOrder, backend: Backend) -> AttemptBackend:
    """What may be asked about the attempt of an order."""
    return backend.attempt(order.session_id, order.attempt, order.credential)


class BackendFences:
    """The fences as a backend has them; see `rollcall_agent.ports.Fences`."""

    def __init__(self, backend: Backend, *, within_s: float = READ_TIMEOUT_S) -> None:
        self._backend = backend
        self._within_s = within_s

    async def is_late(self, order: DispatchOrder) -> bool:
        """See `Fences`. A fence that can't be read in time keeps nobody out."""
        try:
            async with asyncio.timeout(self._within_s):
                fence = await attempt_of(order, self._backend).read_fence()
        except FAILED as unread:  # asyncio's TimeoutError is an OSError
            return _is_over(unread)
        return is_behind(fence, order.attempt)

    async def is_second(self, order: DispatchOrder, job_id: str) -> bool:
        """See `Fences`. Bounded like `is_late`."""
        try:
            async with asyncio.timeout(self._within_s):
                return not await attempt_of(order, self._backend).take(job_id)
        except FAILED as unread:
            return _is_over(unread)


def _is_over(error: Exception) -> bool:
    """Whether the answer was that the attempt is over; anything else says nothing."""
    if isinstance(error, CallRefused) and error.is_over:
        return True
    metrics.fence_unreadable()
    log.warning("fence_unreadable", error=repr(error))
    return False
