"""End a process whose main thread waits for its broker forever, or hangs while it stops."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from shared.platform.celery.consumer import Pulse
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

LOOK_S: Final = 0.25
# No call of the consumer's thread takes longer than 2 s, but a loaded machine may add to that.
DEAD_AFTER_S: Final = 6.0
GIVE_UP_AFTER_S: Final = 12.0
# Counted from SIGTERM. A running task may finish; an idle process waits only for its broker. The supervisor
# of a local stack kills after 4 s, Docker after 10 s.
STOP_WITHIN_S: Final = 8.0
STOP_IDLE_WITHIN_S: Final = 2.0
EXIT_STANDS_STILL: Final = 1


class Watchdog:
    """Checks on a thread of its own. Time in which the whole process was frozen does not count."""

    def __init__(self, pulse: Pulse, *, works: Callable[[], bool], close: Callable[[], None]) -> None:
        """`works` returns whether the process waits for anything but the broker.

        `close` stops the service.
        """
        self._pulse = pulse
        self._works = works
        self._close = close
        self._still_s = 0.0
        self._stopping_s: float | None = None

    @property
    def alive(self) -> bool:
        """Return False if the consumer stands still."""
        return self._still_s < DEAD_AFTER_S

    def start(self) -> None:
        """Start the thread that checks."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stopping(self) -> None:
        """Note that the process was told to stop; safe in a signal handler."""
        if self._stopping_s is None:
            self._stopping_s = 0.0

    def _run(self) -> None:
        seen = self._pulse.beats
        while True:
            time.sleep(LOOK_S)
            beats = self._pulse.beats
            self._still_s = 0.0 if beats != seen else self._still_s + LOOK_S
            seen = beats
            if self._stopping_s is not None:
                self._stopping_s += LOOK_S
                self._end_if_overdue(self._stopping_s)
            elif self._still_s >= GIVE_UP_AFTER_S:
                log.critical("consumer_stands_still", seconds=self._still_s)
                self._end(EXIT_STANDS_STILL)

    def _end_if_overdue(self, stopping_s: float) -> None:
        limit_s = STOP_WITHIN_S if self._works() else STOP_IDLE_WITHIN_S
        if stopping_s >= limit_s:
            log.warning("stop_cut_short", seconds=stopping_s)
            self._end(0)

    def _end(self, code: int) -> None:
        try:
            self._close()
        except Exception as error:
            log.warning("service_not_closed", error=repr(error))
        sys.stdout.flush()
        os._exit(code)
