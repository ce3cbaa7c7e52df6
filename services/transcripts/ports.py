"""What the transcript consumer needs of others."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from shared.contracts.events import TurnFinished
from shared.runtime.streams import Entry


class Group(Protocol):
    """A consumer of the turns stream."""

    def batches(self) -> AsyncIterator[Sequence[Entry]]: ...

    async def acknowledge(self, entries: Iterable[Entry]) -> None: ...


class Archive(Protocol):
    """Where turns are kept."""

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        """Write the turns, each once, in one transaction.

        Returns how many were new, and the session ids among them that don't exist.
        Raises `ArchiveUnavailable` if nothing was written and trying again may help, `ArchiveRefused` if
        nothing was written because a turn among them can't be stored.
        """


class ArchiveUnavailable(Exception):
    """The database doesn't answer now."""


class ArchiveRefused(Exception):
    """A turn can't be stored, now or ever."""
