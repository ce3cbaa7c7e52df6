"""A circuit breaker: while a server is down, calls fail at once instead of waiting for a timeout."""

import time
from collections.abc import Callable

# While the server is down, one call in this time may go through, to find out whether it is back.
PROBE_INTERVAL_S = 1.0


class Breaker:
    """Open from a failure until the next success. `clock` counts seconds and never goes back."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_probe: float | None = None
        self._last_success = float("-inf")

    @property
    def is_open(self) -> bool:
        """Return whether the last answer or failure showed the server down."""
        return self._next_probe is not None

    @property
    def probe_is_due(self) -> bool:
        """Return whether the breaker is open and the next probe is due."""
        return self._next_probe is not None and self._clock() >= self._next_probe

    def lets_through(self) -> bool:
        """Return whether a call may be made now.

        While open, True makes the call the probe, and others must wait.
        """
        if self._next_probe is None:
            return True
        if not self.probe_is_due:
            return False
        self._next_probe = self._clock() + PROBE_INTERVAL_S
        return True

    def succeeded(self) -> None:
        """Close the breaker: the server answered."""
        self._last_success = self._clock()
        self._next_probe = None

    def failed(self, *, began: float) -> None:
        """Open the breaker: a call that began at `began` got no answer. Ignored if a later call succeeded."""
        if began > self._last_success:
            self._next_probe = self._clock() + PROBE_INTERVAL_S
