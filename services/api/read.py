"""Read sessions and their history."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.problems import unknown_session
from shared.contracts.causes import Cause
from shared.contracts.events import Envelope
from shared.contracts.sessions import SessionStatus
from shared.runtime.tables import AttemptRow, EventRow, SessionRow

# What a session in the line waits for that ends with the next free slot.
FULL = frozenset({Cause.WORKERS_AT_CAPACITY, Cause.WORKER_DRAINING})
IN_LINE = frozenset({SessionStatus.REQUESTED, SessionStatus.DISPATCHING})


async def get_session(db: AsyncSession, session_id: str) -> SessionRow:
    """Return a session; raises `Problem` if there is none."""
    # PostgreSQL refuses to even look for a text with NUL in it.
    row = await db.get(SessionRow, session_id) if session_id.isprintable() else None
    if row is None:
        raise unknown_session(session_id)
    return row


async def get_attempts(db: AsyncSession, session_id: str) -> list[AttemptRow]:
    """Return a session's dispatch attempts in order."""
    query = select(AttemptRow).where(col(AttemptRow.session_id) == session_id)
    return list((await db.scalars(query.order_by(col(AttemptRow.number)))).all())


async def place_in_line(db: AsyncSession, row: SessionRow) -> int | None:
    """Return how far the session is from a worker's free slot: 1 is the next; None if it waits for none."""
    if row.waiting_for not in FULL or row.status not in IN_LINE:
        return None
    before = select(func.count()).where(
        col(SessionRow.waiting_for).is_not(None),
        col(SessionRow.agent_name) == row.agent_name,
        col(SessionRow.id) < row.id,
        col(SessionRow.status).in_(IN_LINE),
    )
    return 1 + (await db.scalar(before) or 0)


async def list_sessions(
    db: AsyncSession,
    *,
    limit: int,
    cursor: str | None = None,
    status: SessionStatus | None = None,
    canary: bool | None = None,
) -> tuple[Sequence[SessionRow], str | None]:
    """Return up to `limit` sessions older than the cursor, the newest first, and the next cursor.

    The cursor is a session id: ids are UUIDv7, so their order is that of their making.
    """
    query = select(SessionRow).order_by(col(SessionRow.id).desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(col(SessionRow.id) < cursor)
    if status is not None:
        query = query.where(col(SessionRow.status) == status)
    if canary is not None:
        query = query.where(col(SessionRow.canary).is_(canary))
    rows = (await db.scalars(query)).all()
    page = rows[:limit]
    return page, page[-1].id if len(rows) > limit else None


async def read_events(db: AsyncSession, session_id: str, *, after: int = 0) -> list[Envelope]:
    """Return a session's events with a sequence number above `after`, in order."""
    query = (
        select(EventRow)
        .where(col(EventRow.session_id) == session_id, col(EventRow.sequence) > after)
        .order_by(col(EventRow.sequence))
    )
    return [row.envelope() for row in (await db.scalars(query)).all()]
