"""Is a transcript complete? Which turns are missing, and since when is that known?

Judged for each attempt by itself: its agent numbers its turns from the attempt's first number, and says at
its end how many there were; if it died, its worker says so for it, from what is on its disk. Numbers that
were left free between two attempts are nobody's, and not missing.
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

# A turn that is younger may just not have been stored yet.
GAP_PATIENCE: Final = timedelta(seconds=5)
# The closing report of an agent comes a little after the end of its call.
CLOSING_GRACE: Final = timedelta(seconds=10)
# A stranger's sequence number could name millions.
MAX_MISSING: Final = 1000


@dataclass(frozen=True)
class Completeness:
    """What is known of a transcript's turns."""

    state: TranscriptState
    complete: bool | None
    missing: list[int]
    missing_count: int
    missing_since: datetime | None


@dataclass(frozen=True)
class _Part:
    """The turns of one attempt: how many numbers are stored, the highest, and how many there should be.

    `counted_at`: when the agent, or its worker, said how many there are; None if nobody has.
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
    """Compare what is stored with what the agents have said."""
    came = await _came(db, session.id)
    stored = await _stored(db, session.id)
    state = _state(session, came, now)
    if session.transcript_erased_at is not None and not stored:
        return Completeness(state, None, [], 0, None)
    parts = _parts(came, stored)
    torn = [part for part in parts if part.missing > 0]
    if not torn:
        # Where no agent came there is nothing of which it could be said.
        known = state is TranscriptState.CLOSED and bool(parts)
        return Completeness(state, True if known else None, [], 0, None)
    missing = await _missing(db, session.id, torn)
    since = await _known_since(db, session, missing[0], torn[0])
    certain = state is not TranscriptState.RUNNING or since is None or now - since > GAP_PATIENCE
    count = sum(part.missing for part in torn)
    return Completeness(state, False if certain else None, missing, count, since)


async def _came(db: AsyncSession, session_id: str) -> Sequence[AttemptRow]:
    """The attempts whose agent came; the others had nothing to say."""
    query = select(AttemptRow).where(col(AttemptRow.session_id) == session_id, agent_came())
    return (await db.scalars(query.order_by(col(AttemptRow.number)))).all()


async def _stored(db: AsyncSession, session_id: str) -> dict[int, tuple[int, int]]:
    """By attempt: how many sequence numbers are stored, and the highest."""
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
    """The first numbers that are not stored; there is at least one."""
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
    """When a later turn was stored; of turns at an agent's end, when it was said that there were some."""
    after_the_gap = select(func.min(col(TranscriptItemRow.stored_at), type_=UtcDateTime())).where(
        col(TranscriptItemRow.session_id) == session.id,
        col(TranscriptItemRow.attempt) == part.attempt,
        col(TranscriptItemRow.seq) > first_missing,
    )
    later: datetime | None = (await db.execute(after_the_gap)).scalar()
    return later or part.counted_at or session.ended_at
