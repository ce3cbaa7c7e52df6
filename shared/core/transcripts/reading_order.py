"""The order in which a conversation is read: the order of speech.

`seq` is the order in which turns were published, and shows which ones are missing. It is not always the order
of speech: a realtime model reports the caller's words after its own answer. All code that shows a
conversation or hands it over uses these rules:

- The turns of an attempt come before those of the next attempt, whatever the clocks of their hosts say.
- Within an attempt, turns are ordered by when their speech began or, if that is unknown, by when the SDK made
  them. All these times come from one clock. Equal times are in the order of `seq`.
- A tool's answer directly follows its call.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.core.transcripts.tables import TranscriptItemRow

_CALL: Final = "function_call"
_ANSWER: Final = "function_call_output"
_READ_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Spoken:
    """The data of a turn that decides its place. A tool's call and its answer have the same `call_id`."""

    item_id: str
    seq: int
    attempt: int
    kind: str
    created_at: datetime
    started_at: datetime | None = None
    call_id: str | None = None

    @property
    def began(self) -> datetime:
        """When the turn was said."""
        return self.started_at or self.created_at


@dataclass(frozen=True, slots=True)
class Place:
    """A turn in its place. `at` is when it began, and never before the previous turn.

    If the clock of a later attempt's host is behind, `at` is later by the same amount for all of its turns. A
    tool's answer that came after the next turn's beginning gets that beginning.
    """

    item_id: str
    seq: int
    at: datetime


async def read_order(db: AsyncSession, session_id: str) -> list[Place]:
    """Return the places of all turns of a session, in the order of reading, without reading text."""
    row = TranscriptItemRow
    extra: Any = col(row.extra)
    call_id = case((col(row.kind).in_((_CALL, _ANSWER)), extra["call_id"].as_string())).label("call_id")
    columns: list[Any] = [row.item_id, row.seq, row.attempt, row.kind, row.created_at, row.started_at]
    query = select(*columns, call_id).where(col(row.session_id) == session_id)
    return in_reading_order(Spoken(**found._mapping) for found in await db.execute(query))


async def read_turns(
    db: AsyncSession, session_id: str, places: Sequence[Place]
) -> list[tuple[Place, TranscriptItemRow]]:
    """Return the turns at these places in order, without those that were deleted meanwhile."""
    rows: dict[str, TranscriptItemRow] = {}
    for start in range(0, len(places), _READ_AT_ONCE):
        item_ids = [place.item_id for place in places[start : start + _READ_AT_ONCE]]
        query = select(TranscriptItemRow).where(
            col(TranscriptItemRow.session_id) == session_id, col(TranscriptItemRow.item_id).in_(item_ids)
        )
        rows |= {row.item_id: row for row in await db.scalars(query)}
    return [(place, rows[place.item_id]) for place in places if place.item_id in rows]


def in_reading_order(turns: Iterable[Spoken]) -> list[Place]:
    """Put the turns of one session in order."""
    turns = list(turns)
    calls: dict[tuple[int, str], list[Spoken]] = {}
    for turn in sorted(turns, key=_key):
        if turn.kind == _CALL and turn.call_id is not None:
            calls.setdefault((turn.attempt, turn.call_id), []).append(turn)

    def place(turn: Spoken) -> tuple[Any, ...]:
        call = _call_of(turn, calls)
        return (*_key(turn), False) if call is None else (*_key(call), True, *_key(turn))

    by_attempt: dict[int, list[Spoken]] = {}
    for turn in sorted(turns, key=place):
        by_attempt.setdefault(turn.attempt, []).append(turn)
    places: list[Place] = []
    for ordered in by_attempt.values():
        times = _never_back(ordered, after=places[-1].at if places else None)
        places += [Place(turn.item_id, turn.seq, at) for turn, at in zip(ordered, times, strict=True)]
    return places


def _key(turn: Spoken) -> tuple[int, datetime, int, datetime, str]:
    return turn.attempt, turn.began, turn.seq, turn.created_at, turn.item_id


def _call_of(turn: Spoken, calls: dict[tuple[int, str], list[Spoken]]) -> Spoken | None:
    """Return the call that a turn answers: if an id occurs twice, the last call published before the turn."""
    if turn.kind != _ANSWER or turn.call_id is None:
        return None
    asked = calls.get((turn.attempt, turn.call_id), [])
    before = [call for call in asked if call.seq < turn.seq]
    return max(before, key=lambda call: call.seq) if before else next(iter(asked), None)


def _never_back(ordered: Sequence[Spoken], *, after: datetime | None) -> list[datetime]:
    times = [turn.began for turn in ordered]
    for number in range(len(times) - 2, -1, -1):
        times[number] = min(times[number], times[number + 1])
    behind = max(timedelta(), after - times[0]) if after is not None else timedelta()
    return [time + behind for time in times]
