"""Refuse networks that send many bad keys, so that guessing and flooding cost little.

Each process counts by network and in fixed minutes, without Redis or the database. A network may be shared,
so keys that this process has accepted recently stay valid from it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.api.errors.problems import Problem

WINDOW_S: Final = 60
# Beyond this number, the networks that were counted first are forgotten.
_MOST_NETWORKS: Final = 10_000


class BadKeys:
    """Counts refused keys; a process has one.

    `most` is the limit for one network in a minute; 0: no limit.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def too_many(self, network: str) -> bool:
        """Return whether this network has reached its limit of bad keys for this minute."""
        return bool(self._most) and self._count(network)[1] >= self._most

    def count_bad_key(self, network: str) -> None:
        """Count a bad key."""
        until, count = self._count(network)
        if network not in self._counts and len(self._counts) >= _MOST_NETWORKS:
            self._counts.popitem(last=False)
        self._counts[network] = until, count + 1
        if count == 0:
            self._counts.move_to_end(network)

    def refuse(self, network: str) -> Problem:
        """Return the answer to a request whose key is not looked up."""
        wait_s = max(1, round(self._count(network)[0] - self._clock()))
        detail = f"too many keys from this network address were refused; send a valid one in {wait_s} s"
        headers = {"Retry-After": str(wait_s)}
        return Problem(429, "too_many_requests", detail, headers=headers, retry_after=wait_s)

    def _count(self, network: str) -> tuple[float, int]:
        until, count = self._counts.get(network, (0.0, 0))
        now = self._clock()
        return (until, count) if until > now else (now + WINDOW_S, 0)
