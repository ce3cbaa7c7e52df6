"""The id of a server-sent event: how much of a session's stream a follower has seen.

`12` means every event up to number 12. `12.1-7,1001-1003` also means these turns, by sequence number: turns
come late and out of order, so one number is not enough. `9x2` says that the follower has seen two turns with
the number 9; an agent that took over may use a number again.
"""

import re
from bisect import bisect_right
from typing import Final, Self

_NUMBER: Final = "[0-9]{1,9}"
# The client sends an id back in a header, whose length servers and proxies limit.
_MOST_PARTS: Final = 300
MAX_LENGTH: Final = 8000
_TURNS: Final = f"{_NUMBER}(-{_NUMBER}|x{_NUMBER})?"
PATTERN: Final = rf"^({_NUMBER}(\.{_TURNS}(,{_TURNS})*)?)?$"


class Position:
    """What a follower has seen: events up to `sequence`, and a set of turns."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self._first: list[int] = []  # of each range, in ascending order; ranges neither touch nor overlap
        self._last: list[int] = []
        self._twins: dict[int, int] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an id that `str` has written, a plain number, or ""; raises `ValueError`."""
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"no position: {text!r}")
        sequence, _, turns = text.partition(".")
        position = cls(int(sequence or 0))
        for part in filter(None, turns.split(",")):
            number, _, times = part.partition("x")
            first, _, last = number.partition("-")
            if int(last or first) < int(first):
                raise ValueError(f"a range that runs backwards: {part}")
            position._cover(int(first), int(last or first))
            if times and int(times) > 1:
                position._twins[int(first)] = int(times)
        return position

    def times(self, seq: int) -> int:
        """Return how many turns of this number were seen."""
        at = bisect_right(self._first, seq) - 1
        return self._twins.get(seq, 1) if at >= 0 and seq <= self._last[at] else 0

    def add_turn(self, seq: int) -> None:
        """Add a turn of this number."""
        if before := self.times(seq):
            self._twins[seq] = before + 1
        else:
            self._cover(seq, seq)

    def _cover(self, first: int, last: int) -> None:
        # The ranges from `low` up to, but not including, `high` touch the new one.
        low = bisect_right(self._last, first - 2)
        high = bisect_right(self._first, last + 1)
        if low < high:
            first, last = min(first, self._first[low]), max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]

    def __str__(self) -> str:
        """Return the id.

        With very many gaps it holds only the first ranges, so that some turns come twice.
        """
        ranges = zip(self._first, self._last, strict=True)
        parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
        parts += [f"{seq}x{times}" for seq, times in sorted(self._twins.items())]
        return f"{self.sequence}.{','.join(parts[:_MOST_PARTS])}" if parts else str(self.sequence)
