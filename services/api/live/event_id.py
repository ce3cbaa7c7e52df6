"""How much of a session's stream somebody has seen: the id of a server-sent event.

`12` is every event up to number 12. `12.1-7,1001-1003` is those turns as well, by sequence number: turns
come late and out of order, so one number would not do. `9x2` says that two turns of the number 9 were
seen, which an agent that took over may have given out again.
"""

import re
from bisect import bisect_right
from typing import Final, Self

_NUMBER: Final = "[0-9]{1,9}"
# An id goes back in a header, and servers and proxies take none of any length.
_MOST_PARTS: Final = 300
MAX_LENGTH: Final = 8000
_TURNS: Final = f"{_NUMBER}(-{_NUMBER}|x{_NUMBER})?"
PATTERN: Final = rf"^({_NUMBER}(\.{_TURNS}(,{_TURNS})*)?)?$"


class Position:
    """What was seen: events up to `sequence`, and a set of turns."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self._first: list[int] = []  # of each range, in order; ranges neither touch nor overlap
        self._last: list[int] = []
        self._twins: dict[int, int] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` has written, or only a number, or nothing; raises `ValueError`."""
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
        """How many turns of this number were seen."""
        at = bisect_right(self._first, seq) - 1
        return self._twins.get(seq, 1) if at >= 0 and seq <= self._last[at] else 0

    def add(self, seq: int) -> None:
        """A turn of this number was seen."""
        if before := self.times(seq):
            self._twins[seq] = before + 1
        else:
            self._cover(seq, seq)

    def _cover(self, first: int, last: int) -> None:
        # The ranges from `low` on touch it, up to but without `high`.
        low = bisect_right(self._last, first - 2)
        high = bisect_right(self._first, last + 1)
        if low < high:
            first, last = min(first, self._first[low]), max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]

    def __str__(self) -> str:
        """The shortest text that says it; of very many gaps only the first, so that some come twice."""
        ranges = zip(self._first, self._last, strict=True)
        parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
        parts += [f"{seq}x{times}" for seq, times in sorted(self._twins.items())]
        return f"{self.sequence}.{','.join(parts[:_MOST_PARTS])}" if parts else str(self.sequence)
