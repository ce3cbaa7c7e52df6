"""What the transcript consumer needs from other parts."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.contracts.events import TurnFinished
from shared.platform.redis.streams import Entry


class Group(Protocol):
    """A consumer of the turns stream."""

    def batches(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield batches forever: first the entries that this consumer left unacknowledged, then new ones."""

    def read_again(self) -> None:
        """Make `batches` begin again with the entries that this consumer has not acknowledged."""

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Mark the entries as handled."""

    async def give_back(self) -> None:
        """Let other consumers take the unacknowledged entries at once."""


@dataclass(frozen=True)
class Oddities:
    """Counts of stored turns that don't fit among the others.

    `conflicts` counts turns with the same number as another turn. `gaps` counts turns whose predecessor by
    number is not stored. An attempt's first turn has no predecessor, since numbers stay free between
    attempts.
    """

    conflicts: int = 0
    gaps: int = 0


class Archive(Protocol):
    """The store of turns. Its methods raise `ArchiveUnavailable`."""

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        """Write the turns, each once, in one transaction.

        Returns how many were new, and the session ids that don't exist. Raises `ArchiveUnavailable` if
        nothing was written and another try may succeed, and `ArchiveRefused` if nothing was written because
        one of the turns can't be stored.
        """

    async def projects(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """Return the project of each of these sessions that exists."""

    async def oddities(self, turns: Sequence[TurnFinished]) -> Oddities:
        """Return how many of these stored turns don't fit among the others."""


class ArchiveUnavailable(Exception):
    """The database doesn't answer now."""


class ArchiveRefused(Exception):
    """A turn can't be stored, now or ever."""
