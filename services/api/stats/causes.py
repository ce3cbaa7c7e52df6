"""Group a project's failed sessions by cause and agent name."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.sessions.read import SessionFilters
from services.api.stats.schemas import CauseGroup
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow

MOST_GROUPS: Final = 200


async def group_causes(
    db: AsyncSession, *, project: str, since: datetime, until: datetime, agent_name: str | None
) -> list[CauseGroup]:
    """Return the groups of sessions requested in that time, the largest first; at most `MOST_GROUPS`."""
    filters = SessionFilters(agent_name=agent_name, since=since, until=until)
    asked = [
        col(SessionRow.project) == project,
        col(SessionRow.status) == SessionStatus.FAILED,
        col(SessionRow.cause).is_not(None),
        *filters.conditions(),
    ]
    counted = func.count()
    groups = (
        select(
            col(SessionRow.cause),
            col(SessionRow.agent_name),
            counted.label("sessions"),
            func.min(col(SessionRow.requested_at)).label("first_at"),
            func.max(col(SessionRow.requested_at)).label("last_at"),
            func.max(col(SessionRow.id)).label("newest"),
        )
        .where(*asked)
        .group_by(col(SessionRow.cause), col(SessionRow.agent_name))
        .order_by(counted.desc(), col(SessionRow.cause), col(SessionRow.agent_name))
        .limit(MOST_GROUPS)
    )
    found = (await db.execute(groups)).all()
    samples = col(SessionRow.id).in_([group.newest for group in found])
    newest = select(col(SessionRow.id), col(SessionRow.evidence)).where(samples)
    evidence = {session_id: told or {} for session_id, told in (await db.execute(newest)).all()}
    return [_shown(group, evidence[group.newest]) for group in found]


def _shown(group: Any, evidence: dict[str, Any]) -> CauseGroup:
    cause = Cause(group.cause)
    return CauseGroup(
        cause=cause,
        agent_name=group.agent_name,
        sessions=group.sessions,
        first_at=group.first_at,
        last_at=group.last_at,
        advice=ADVICE[cause],
        sample_session_id=group.newest,
        sample_evidence=evidence,
    )
