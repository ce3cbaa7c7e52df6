"""What the transcript consumer needs of others."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.contracts.events import TurnFinished
from shared.platform.redis.streams import Entry


class Group(Protocol):
    """A consumer of the turns stream."""

    def batches(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield batches for ever: first what this consumer left unacknowledged, then new entries."""

    def read_again(self) -> None:
        """Have `batches` begin again with what this consumer has not acknowledged."""

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Take the entries off the stream: they are handled."""

    async def give_back(self) -> None:
        """Leave what is not acknowledged to the other consumers at once."""


@dataclass(frozen=True)
class Oddities:
    """What doesn't fit among the stored turns.

    conflicts: how many bear a number that another turn bears too.
    gaps: how many came before the turn in front of them. An attempt's first turn has none there, since
    numbers are left free between attempts.
    """

    conflicts: int = 0
    gaps: int = 0


class Archive(Protocol):
    """Where turns are kept. Its methods raise `ArchiveUnavailable`."""

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        """Write the turns, each once, in one transaction.

        Returns how many were new, and the session ids among them that don't exist.
        Raises `ArchiveUnavailable` if nothing was written and trying again may help, `ArchiveRefused` if
        nothing was written because a turn among them can't be stored.
        """

    async def projects(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """The project of each of these sessions that exists."""

    async def oddities(self, turns: Sequence[TurnFinished]) -> Oddities:
        """What doesn't fit about these turns, which are stored."""


class ArchiveUnavailable(Exception):
    """The database doesn't answer now."""


class ArchiveRefused(Exception):
    """A turn can't be stored, now or ever."""
