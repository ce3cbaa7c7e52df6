"""Is a transcript complete? Which turns are missing, and since when is that known?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import distinct, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.transcript_schemas import TranscriptState
from shared.contracts.sessions import TERMINAL
from shared.runtime.tables import AttemptRow, SessionRow, TranscriptItemRow, UtcDateTime

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


async def judge(db: AsyncSession, session: SessionRow, *, now: datetime) -> Completeness:
    """Compare what is stored with what the last agent that talked has said."""
    closed_at = await _closed_at(db, session)
    state = _state(session, closed_at, now)
    stored, highest = await _count(db, session.id)
    if session.transcript_erased_at is not None and not stored:
        return Completeness(state, None, [], 0, None)
    last = max(highest, session.expected_turns or 0)
    if stored == last:
        return Completeness(state, True if state is TranscriptState.CLOSED else None, [], 0, None)
    missing = await _missing(db, session.id, highest, last)
    since = await _known_since(db, session, missing[0], closed_at)
    certain = state is not TranscriptState.RUNNING or since is None or now - since > GAP_PATIENCE
    return Completeness(state, False if certain else None, missing, last - stored, since)


async def _closed_at(db: AsyncSession, session: SessionRow) -> datetime | None:
    """When the last agent that was in the room said that it is done; None if it has not.

    An attempt after it whose agent never came has said nothing, and had nothing to say.
    """
    came = or_(
        col(AttemptRow.entrypoint_at).is_not(None),
        col(AttemptRow.connected_at).is_not(None),
        col(AttemptRow.active_at).is_not(None),
        col(AttemptRow.closed_at).is_not(None),
    )
    last = (
        select(AttemptRow)
        .where(col(AttemptRow.session_id) == session.id, came)
        .order_by(col(AttemptRow.number).desc())
        .limit(1)
    )
    attempt = await db.scalar(last)
    if session.expected_turns is not None:
        return attempt.closed_at if attempt is not None else session.ended_at
    nobody_came = attempt is None and session.active_at is None
    return session.ended_at if nobody_came else None


def _state(session: SessionRow, closed_at: datetime | None, now: datetime) -> TranscriptState:
    if session.status not in TERMINAL:
        return TranscriptState.RUNNING
    if closed_at is not None:
        return TranscriptState.CLOSED
    if session.ended_at is not None and now - session.ended_at < CLOSING_GRACE:
        return TranscriptState.RUNNING
    return TranscriptState.UNCLOSED


async def _count(db: AsyncSession, session_id: str) -> tuple[int, int]:
    seq = col(TranscriptItemRow.seq)
    query = select(func.count(distinct(seq)), func.max(seq)).where(
        col(TranscriptItemRow.session_id) == session_id, seq >= 1
    )
    stored, highest = (await db.execute(query)).one()
    return stored, highest or 0


async def _missing(db: AsyncSession, session_id: str, highest: int, last: int) -> list[int]:
    """The first numbers up to `last` that are not stored, `highest` being; there is at least one."""
    seq = col(TranscriptItemRow.seq)
    numbered = (
        select(seq.label("seq"), func.lag(seq, 1, 0).over(order_by=seq).label("before"))
        .where(col(TranscriptItemRow.session_id) == session_id, seq >= 1)
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
        yield from range(highest + 1, last + 1)

    found = (await db.execute(gaps)).all()
    return [number for number, _ in zip(numbers(), range(MAX_MISSING), strict=False)]


async def _known_since(
    db: AsyncSession, session: SessionRow, first_missing: int, closed_at: datetime | None
) -> datetime | None:
    """When a later turn was stored; of turns at the end, when the agent said that there were some."""
    after_the_gap = select(func.min(col(TranscriptItemRow.stored_at), type_=UtcDateTime())).where(
        col(TranscriptItemRow.session_id) == session.id, col(TranscriptItemRow.seq) > first_missing
    )
    later: datetime | None = (await db.execute(after_the_gap)).scalar()
    return later or closed_at or session.ended_at
