"""Read a conversation: page by page for JSON, turn by turn for exports."""

from collections.abc import AsyncIterator
from datetime import datetime

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.completeness import judge
from services.api.latency import summarise
from services.api.read import session_of
from services.api.transcript_schemas import Transcript, Turn
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from shared.runtime.tables import SessionRow, TranscriptItemRow

_EXPORT_BATCH = 500


async def read_conversation(
    db: AsyncSession, session_id: str, *, project: str, limit: int, after_seq: int, now: datetime
) -> Transcript:
    """Return up to `limit` turns above `after_seq`, in order, and what is known of the whole.

    Turns of the same number are never on two pages, so a page may be a little longer. Raises `Problem`.
    """
    session = await session_of(db, session_id, project)
    rows, more = await _page(db, session_id, limit=limit, after_seq=after_seq)
    started_at = await call_started_at(db, session)
    found = await judge(db, session, now=now)
    return Transcript(
        session_id=session_id,
        status=SessionStatus(session.status),
        state=found.state,
        complete=found.complete,
        missing=found.missing,
        missing_count=found.missing_count,
        missing_since=found.missing_since,
        erased_at=session.transcript_erased_at,
        items=[Turn.at(row, started_at) for row in rows],
        next_after_seq=rows[-1].seq if more else None,
        summary=None if after_seq else await summarise(db, session_id),
    )


async def call_started_at(db: AsyncSession, session: SessionRow) -> datetime:
    """When the agent was first seen in the room, or the first turn began, whichever came first."""
    first = await db.scalar(_ordered(session.id).limit(1))
    spoken = None if first is None else first.started_at or first.created_at
    known = [moment for moment in (session.active_at, spoken) if moment is not None]
    return min(known, default=session.requested_at)


async def each_turn(database: Database, session_id: str, started_at: datetime) -> AsyncIterator[Turn]:
    """Yield every turn in order. No transaction is held while the reader takes its time."""
    after: tuple[int, datetime, str] | None = None
    while True:
        async with database.read() as db:
            rows = (await db.scalars(_ordered(session_id, after).limit(_EXPORT_BATCH))).all()
        for row in rows:
            yield Turn.at(row, started_at)
        if len(rows) < _EXPORT_BATCH:
            return
        after = (rows[-1].seq, rows[-1].created_at, rows[-1].item_id)


async def _page(
    db: AsyncSession, session_id: str, *, limit: int, after_seq: int
) -> tuple[list[TranscriptItemRow], bool]:
    query = _ordered(session_id).where(col(TranscriptItemRow.seq) > after_seq)
    rows = list((await db.scalars(query.limit(limit + 1))).all())
    if len(rows) <= limit:
        return rows, False
    page, last = rows[:limit], rows[limit - 1].seq
    if rows[limit].seq == last:
        twins = _ordered(session_id).where(col(TranscriptItemRow.seq) == last)
        page = [row for row in page if row.seq != last] + list((await db.scalars(twins)).all())
    beyond = select(col(TranscriptItemRow.item_id)).where(
        col(TranscriptItemRow.session_id) == session_id, col(TranscriptItemRow.seq) > last
    )
    return page, await db.scalar(beyond.limit(1)) is not None


def _ordered(session_id: str, after: tuple[int, datetime, str] | None = None) -> Select[TranscriptItemRow]:
    seq, created_at, item_id = (
        col(TranscriptItemRow.seq),
        col(TranscriptItemRow.created_at),
        col(TranscriptItemRow.item_id),
    )
    query = select(TranscriptItemRow).where(col(TranscriptItemRow.session_id) == session_id)
    if after is not None:
        same = seq == after[0]
        query = query.where(
            or_(
                seq > after[0],
                and_(same, created_at > after[1]),
                and_(same, created_at == after[1], item_id > after[2]),
            )
        )
    return query.order_by(seq, created_at, item_id)
