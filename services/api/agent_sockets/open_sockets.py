"""The open sockets of this process, so that one client can't take all places."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.api import metrics
from services.api.errors.problems import Problem


class OpenSockets:
    """Counts the sockets of each owner; a process has one."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, owner: str, *, most: int) -> None:
        """Raises `Problem` if the owner has no place left."""
        if self._open[owner] >= most:
            detail = f"this client has {most} open sockets already; close one, and try again"
            raise Problem(429, "too_many_requests", detail, headers={"Retry-After": "5"}, retry_after=5)

    @contextmanager
    def entered(self, owner: str) -> Iterator[None]:
        """Count the socket inside of the block."""
        self._open[owner] += 1
        metrics.agent_sockets(self._open.total())
        try:
            yield
        finally:
            self._open[owner] -= 1
            self._open += Counter()  # drops owners without a socket
            metrics.agent_sockets(self._open.total())
