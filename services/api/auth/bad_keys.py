"""Who comes with keys that are not taken is soon refused without a look: guessing and flooding cost little.

Counted in this process, by network and in fixed minutes, and so without Redis or the database. A network
may be shared: keys that were taken a while ago go on being taken from it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.api.errors.problems import Problem

WINDOW_S: Final = 60
# Beyond these the networks that were counted first are forgotten.
_MOST_NETWORKS: Final = 10_000


class BadKeys:
    """Counts refused keys; one for a process. `most` in a minute of one network; 0: no limit."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def too_many(self, network: str) -> bool:
        """Whether this network has sent as many bad keys within the minute as it may."""
        return bool(self._most) and self._count(network)[1] >= self._most

    def add(self, network: str) -> None:
        """Count one."""
        until, count = self._count(network)
        if network not in self._counts and len(self._counts) >= _MOST_NETWORKS:
            self._counts.popitem(last=False)
        self._counts[network] = until, count + 1
        if count == 0:
            self._counts.move_to_end(network)

    def refuse(self, network: str) -> Problem:
        """What to answer instead of a look at the key."""
        wait_s = max(1, round(self._count(network)[0] - self._clock()))
        detail = f"too many keys from this network address were not taken; send a good one in {wait_s} s"
        headers = {"Retry-After": str(wait_s)}
        return Problem(429, "too_many_requests", detail, headers=headers, retry_after=wait_s)

    def _count(self, network: str) -> tuple[float, int]:
        until, count = self._counts.get(network, (0.0, 0))
        now = self._clock()
        return (until, count) if until > now else (now + WINDOW_S, 0)
