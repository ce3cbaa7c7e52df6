"""A terminal with scrolling lines, and the current captions below them."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cli.client.answers import Caption
from shared.platform.plain_text import one_line

WHO: Final = {"user": "caller", "assistant": "agent"}
_INDENT: Final = 13


class CaptionConsole:
    """A context manager. `print` shows a final line; `caption` shows words that may still change.

    Without a terminal, captions are left out: lines in a file can't be changed any more.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._captions: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Start using the bottom of the terminal."""
        if self._console.is_terminal:
            self._live = Live(Group(), console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop using the bottom of the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def print(self, line: Text) -> None:
        """Show a final line."""
        self._console.print(line)

    def caption(self, caption: Caption) -> None:
        """Replace a speaker's caption; an empty text removes it."""
        self._captions.pop(caption.role, None)
        if caption.text:
            self._captions[caption.role] = one_line(caption.text)
        if self._live is not None:
            self._live.update(Group(*map(self._line, self._captions.items())), refresh=True)

    def _line(self, said: tuple[str, str]) -> Text:
        role, text = said
        room = max(10, self._console.width - _INDENT - 10)
        shown = text if len(text) <= room else f"…{text[-room:]}"
        return Text(f"{'':{_INDENT}}{WHO.get(role, role):>7}: {shown}", style="italic dim", no_wrap=True)
