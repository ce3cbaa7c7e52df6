"""Workers that don't report to Rollcall: what earlier sessions say of a name that they serve."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.core.sessions.tables import AttemptRow, SessionRow

# How many of the newest sessions are searched for an earlier join under a name.
REMEMBERED = 5000


async def is_served_by_unreporting(db: AsyncSession, agent_name: str) -> bool:
    """Return whether an agent of a worker that doesn't report to us has joined under this name lately."""
    newest = select(col(SessionRow.id)).order_by(col(SessionRow.id).desc()).limit(REMEMBERED).subquery()
    joined = (
        select(col(SessionRow.id))
        .join(AttemptRow, col(AttemptRow.session_id) == col(SessionRow.id))
        .where(
            col(SessionRow.id).in_(select(newest.c.id)),
            col(SessionRow.agent_name) == agent_name,
            col(AttemptRow.active_at).is_not(None),
            col(AttemptRow.reported_at).is_(None),
        )
        .limit(1)
    )
    return await db.scalar(joined) is not None
