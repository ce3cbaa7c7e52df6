"""Find out whether a transcript is complete, which turns are missing, and since when that is known.

Each attempt is judged by itself. Its agent numbers its turns from the attempt's first number, and reports at
its end how many there were. If the agent died, its worker reports the count from its disk. Numbers that
stayed free between two attempts are not missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, distinct, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.transcripts.schemas import TranscriptState
from shared.contracts.sessions import TERMINAL
from shared.core.sessions.attempts import agent_came
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.columns import UtcDateTime

# A younger turn may just not be stored yet.
GAP_PATIENCE: Final = timedelta(seconds=5)
# An agent's closing report comes a little after the end of its call.
CLOSING_GRACE: Final = timedelta(seconds=10)
# A forged sequence number could imply millions of missing turns.
MAX_MISSING: Final = 1000


@dataclass(frozen=True)
class Completeness:
    """What is known about a transcript's turns."""

    state: TranscriptState
    complete: bool | None
    missing: list[int]
    missing_count: int
    missing_since: datetime | None


@dataclass(frozen=True)
class _Part:
    """The turns of one attempt: how many numbers are stored, the highest one, and how many there should be.

    `counted_at` is when the agent or its worker reported the count; None if there is no count.
    """

    attempt: int
    first_seq: int
    stored: int
    highest: int
    counted_at: datetime | None
    expected: int

    @property
    def last(self) -> int:
        return max(self.highest, self.first_seq - 1 + self.expected)

    @property
    def missing(self) -> int:
        return self.last - self.first_seq + 1 - self.stored


async def judge(db: AsyncSession, session: SessionRow, *, now: datetime) -> Completeness:
    """Compare the stored turns with the agents' counts."""
    came = await _came(db, session.id)
    stored = await count_stored(db, session.id)
    state = _state(session, came, now)
    if session.transcript_erased_at is not None and not stored:
        return Completeness(state, None, [], 0, None)
    parts = _parts(came, stored)
    torn = [part for part in parts if part.missing > 0]
    if not torn:
        # If no agent came, completeness has no meaning.
        known = state is TranscriptState.CLOSED and bool(parts)
        return Completeness(state, True if known else None, [], 0, None)
    missing = await _missing(db, session.id, torn)
    since = await _known_since(db, session, missing[0], torn[0])
    certain = state is not TranscriptState.RUNNING or since is None or now - since > GAP_PATIENCE
    count = sum(part.missing for part in torn)
    return Completeness(state, False if certain else None, missing, count, since)


async def _came(db: AsyncSession, session_id: str) -> Sequence[AttemptRow]:
    """Return the attempts whose agent came; the others have no turns."""
    query = select(AttemptRow).where(col(AttemptRow.session_id) == session_id, agent_came())
    return (await db.scalars(query.order_by(col(AttemptRow.number)))).all()


async def count_stored(db: AsyncSession, session_id: str) -> dict[int, tuple[int, int]]:
    """Return for each attempt how many sequence numbers are stored, and the highest."""
    seq, attempt = col(TranscriptItemRow.seq), col(TranscriptItemRow.attempt)
    of_it = and_(
        col(AttemptRow.session_id) == col(TranscriptItemRow.session_id), col(AttemptRow.number) == attempt
    )
    query = (
        select(attempt, func.count(distinct(seq)), func.max(seq))
        .outerjoin_from(TranscriptItemRow, AttemptRow, of_it)
        .where(
            col(TranscriptItemRow.session_id) == session_id,
            seq >= func.coalesce(col(AttemptRow.first_seq), 1),
        )
        .group_by(attempt)
    )
    return {number: (count, highest) for number, count, highest in await db.execute(query)}


def _parts(came: Sequence[AttemptRow], stored: Mapping[int, tuple[int, int]]) -> list[_Part]:
    rows = {row.number: row for row in came}
    parts = []
    for number in sorted(rows.keys() | stored.keys()):
        row = rows.get(number)
        count, highest = stored.get(number, (0, 0))
        first = row.first_seq if row is not None else 1
        counted_at = row.counted_at if row is not None else None
        expected = (row.expected_turns or 0) if row is not None else 0
        parts.append(_Part(number, first, count, max(highest, first - 1), counted_at, expected))
    return parts


def _state(session: SessionRow, came: Sequence[AttemptRow], now: datetime) -> TranscriptState:
    if session.status not in TERMINAL:
        return TranscriptState.RUNNING
    counted = all(attempt.expected_turns is not None for attempt in came)
    if counted and (came or session.active_at is None):
        return TranscriptState.CLOSED
    if session.ended_at is not None and now - session.ended_at < CLOSING_GRACE:
        return TranscriptState.RUNNING
    return TranscriptState.UNCLOSED


async def _missing(db: AsyncSession, session_id: str, torn: Sequence[_Part]) -> list[int]:
    """Return the first numbers that are not stored; there is at least one."""
    missing: list[int] = []
    for part in torn:
        if len(missing) < MAX_MISSING:
            missing += await _missing_of(db, session_id, part)
    return sorted(missing)[:MAX_MISSING]


async def _missing_of(db: AsyncSession, session_id: str, part: _Part) -> list[int]:
    seq = col(TranscriptItemRow.seq)
    numbered = (
        select(seq.label("seq"), func.lag(seq, 1, part.first_seq - 1).over(order_by=seq).label("before"))
        .where(
            col(TranscriptItemRow.session_id) == session_id,
            col(TranscriptItemRow.attempt) == part.attempt,
            seq >= part.first_seq,
        )
        .subquery()
    )
    gaps = (
        select(numbered.c.before, numbered.c.seq)
        .where(numbered.c.seq > numbered.c.before + 1)
        .order_by(numbered.c.seq)
        .limit(MAX_MISSING)
    )

    def numbers() -> Iterator[int]:
        for before, after in found:
            yield from range(before + 1, after)
        yield from range(part.highest + 1, part.last + 1)

    found = (await db.execute(gaps)).all()
    return [number for number, _ in zip(numbers(), range(MAX_MISSING), strict=False)]


async def _known_since(
    db: AsyncSession, session: SessionRow, first_missing: int, part: _Part
) -> datetime | None:
    """Return since when the gap is known.

    That is when a later turn was stored, or, for an agent's last turns, when its count arrived.
    """
    after_the_gap = select(func.min(col(TranscriptItemRow.stored_at), type_=UtcDateTime())).where(
        col(TranscriptItemRow.session_id) == session.id,
        col(TranscriptItemRow.attempt) == part.attempt,
        col(TranscriptItemRow.seq) > first_missing,
    )
    later: datetime | None = (await db.execute(after_the_gap)).scalar()
    return later or part.counted_at or session.ended_at
