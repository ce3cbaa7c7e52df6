"""Write repeated log lines only a few times, and count the rest.

If outsiders can cause a line, they can cause it without limit. They could fill a disk by sending nonsense,
and hide the line that matters. Lines of different sessions are of different kinds, so that the log tells each
session's outcome however many fail.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from structlog.contextvars import get_contextvars

# How many lines of one kind are written, in how many seconds.
MOST: Final = 10
WINDOW_S: Final = 10.0
# How many kinds are counted at the same time; beyond that, counting starts again.
_MOST_KINDS: Final = 4096

LEFT_OUT: Final = "lines_left_out"
# The parts that may differ within one kind: addresses, ports, ids, times.
_VARYING: Final = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+")
_LONGEST: Final = 200


@dataclass
class _Window:
    began: float
    seen: int
    logger: str
    level: int
    what: str

    @property
    def left_out(self) -> int:
        return max(0, self.seen - MOST)


class FloodFilter(logging.Filter):
    """A handler's filter.

    In `WINDOW_S` it passes `MOST` lines of one kind at WARNING or above; it reports the rest. It calls `tell`
    with a logger's name, a level, a text and a number, from a thread of its own.
    """

    def __init__(
        self,
        tell: Callable[[str, int, str, int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        window_s: float = WINDOW_S,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._clock = clock
        self._window_s = window_s
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.levelno < logging.WARNING:
            return True
        what, session = _what(record), _session(record)
        if what == LEFT_OUT:
            return True
        with self._lock:
            window = self._window(record, what, session)
            window.seen += 1
            if window.left_out and self._timer is None:
                self._timer = threading.Timer(self._window_s, self.tell_what_was_left_out)
                self._timer.daemon = True
                self._timer.start()
            return not window.left_out

    def tell_what_was_left_out(self) -> None:
        """Report every kind of which lines were left out, and start counting again."""
        with self._lock:
            self._timer = None
            told = [window for window in self._windows.values() if window.left_out]
            self._windows.clear()
        for window in told:
            self._tell(window.logger, window.level, window.what, window.left_out)

    def _window(self, record: logging.LogRecord, what: str, session: str) -> _Window:
        key, now = (record.name, record.levelname, what, session), self._clock()
        window = self._windows.get(key)
        if window is not None and (window.left_out or now - window.began < self._window_s):
            return window  # lines that were left out are reported before their count is dropped
        if len(self._windows) >= _MOST_KINDS:
            self._windows = {of: kept for of, kept in self._windows.items() if kept.left_out}
        window = self._windows[key] = _Window(now, 0, record.name, record.levelno, what)
        return window


def _what(record: logging.LogRecord) -> str:
    """Return the text of a line without the parts that vary."""
    if isinstance(record.msg, dict):  # structlog's: the whole event
        return str(record.msg.get("event", ""))
    # Not formatted: all lines of a library's template are of one kind.
    return _VARYING.sub("#", str(record.msg)[:_LONGEST])


def _session(record: logging.LogRecord) -> str:
    event = record.msg if isinstance(record.msg, dict) else vars(record)
    return str(event.get("session_id") or get_contextvars().get("session_id", ""))
