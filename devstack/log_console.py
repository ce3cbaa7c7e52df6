"""The output for the user: our own lines, and the logs of all processes, prefixed and coloured."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from shared.platform.plain_text import many_lines, one_line

POLL_S: Final = 0.1
LONGEST_VALUE: Final = 200
_COLOURS: Final = (
    "cyan",
    "green",
    "magenta",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)
_LEVELS: Final = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "critical": 50,
    "fatal": 50,
}
_STYLES: Final = {10: "dim", 30: "yellow", 40: "red", 50: "bold red"}
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
# Shown by the prefix, replaced by the time of reading, or useful only for debugging.
_HIDDEN: Final = frozenset(
    {"level", "event", "message", "msg", "timestamp", "ts", "service", "logger", "caller", "name"}
)
# Text that is not JSON is unimportant, unless it looks like this.
_TRACEBACK: Final = re.compile(
    r"Traceback |\s+(File \"|\S)|([\w.]+\.)?\w*(Error|Exception)\b|Fatal Python error"
)


class PlainConsole(Console):
    """A console that obeys no control characters: printed text may come from a caller or a server.

    Text that must not begin a new line goes through `one_line` first.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything printed. Control segments come only from the console itself."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=many_lines(segment.text))


def make_console(*, stderr: bool = False) -> Console:
    """Return the console for all output. It does not wrap long lines."""
    return PlainConsole(stderr=stderr, soft_wrap=True, highlight=False)


class LogConsole:
    """Shows our own lines, and log lines at `level` or above, except those of the `muted` processes.

    A log line is cut after `longest` characters; the log file has all of it.
    """

    def __init__(
        self, console: Console, *, level: int, muted: Collection[str] = (), longest: int = 1_000
    ) -> None:
        self._console = console
        self._level = level
        self._longest = longest
        self._muted = frozenset(muted)
        self._colours: dict[str, str] = {}

    def tell(self, message: str) -> None:
        """Show what the stack is doing."""
        self._console.print(Text(message, style="cyan"))

    def tell_failure(self, message: str) -> None:
        """Show why nothing more is done."""
        self._console.print(Text(message, style="bold red"))

    def notify(self, name: str, message: str) -> None:
        """Show an event of a process."""
        self._console.print(self._prefix(name) + Text(message, style="bold yellow"))

    def log_line(self, name: str, line: str) -> None:
        """Show a line of a process's log, if its level is high enough."""
        level, text = _read(line)
        text = _cut(one_line(text), self._longest)
        if level >= self._level and text and name not in self._muted:
            self._console.print(self._prefix(name) + Text(text, style=_STYLES.get(level, "")))

    @asynccontextmanager
    async def following(self, logs: Path) -> AsyncIterator[None]:
        """While the block runs, show new lines of the log files in this folder."""
        follower = _Follower(logs, self)
        task = asyncio.create_task(follower.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            follower.read_all()

    def _prefix(self, name: str) -> Text:
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return Text(f"{name:>12} │ ", style=colour)


class _Follower:
    def __init__(self, logs: Path, screen: LogConsole) -> None:
        self._logs = logs
        self._screen = screen
        self._positions = {file: file.stat().st_size for file in logs.glob("*.log")}

    async def run(self) -> None:
        while True:
            self.read_all()
            await asyncio.sleep(POLL_S)

    def read_all(self) -> None:
        for file in sorted(self._logs.glob("*.log")):
            for line in self._new_lines(file):
                self._screen.log_line(file.stem, line)

    def _new_lines(self, file: Path) -> Sequence[str]:
        start = self._positions.get(file, 0)
        if file.stat().st_size <= start:
            return ()
        with file.open("rb") as log:
            log.seek(start)
            content = log.read()
        whole, newline, _ = content.rpartition(b"\n")
        self._positions[file] = start + len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


def _read(line: str) -> tuple[int, str]:
    """Return a log line's level and its text for people."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        return (ERROR if _TRACEBACK.match(line) else INFO), line.rstrip()
    level = _LEVELS.get(str(entry.get("level", "info")).lower(), INFO)
    fields = (f"{key}={_short(value)}" for key, value in entry.items() if key not in _HIDDEN)
    return level, " ".join(
        [str(entry.get("message") or entry.get("event") or entry.get("msg") or ""), *fields]
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _cut(" ".join(text.split()), LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
