"""A circuit breaker: while a server is away, its callers are told so at once instead of one by one."""

import time
from collections.abc import Callable

# While the server is away, one call in this time is let through to find out whether it still is.
PROBE_INTERVAL_S = 1.0


class Breaker:
    """Open from a failure until the next success; `clock` counts seconds and never goes back."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_probe: float | None = None
        self._last_success = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether the server was away when last heard of."""
        return self._next_probe is not None

    @property
    def probe_is_due(self) -> bool:
        """Whether it is time to find out, if it is open."""
        return self._next_probe is not None and self._clock() >= self._next_probe

    def lets_through(self) -> bool:
        """Whether a call may be made now; the one that is the probe takes the turn of all others."""
        if self._next_probe is None:
            return True
        if not self.probe_is_due:
            return False
        self._next_probe = self._clock() + PROBE_INTERVAL_S
        return True

    def succeeded(self) -> None:
        """The server has answered."""
        self._last_success = self._clock()
        self._next_probe = None

    def failed(self, *, began: float) -> None:
        """A call begun at `began` found nobody; older news than the last success are none."""
        if began > self._last_success:
            self._next_probe = self._clock() + PROBE_INTERVAL_S
