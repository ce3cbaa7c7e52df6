"""What became of the sessions that went to a pool lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, distinct, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.identifiers import first_id
from shared.contracts.sessions import SessionStatus
from shared.core.admission.wait_queue import FULL
from shared.core.sessions.tables import AttemptRow, SessionRow

_UNDISPATCHED = col(AttemptRow.number).is_(None)
_POOL = func.coalesce(case((_UNDISPATCHED, col(SessionRow.deployment)), else_=col(AttemptRow.deployment)), "")
_CAUSE = case((_UNDISPATCHED, col(SessionRow.cause)), else_=col(AttemptRow.cause))
# Full workers are no fault of a pool.
_FAILED = and_(
    or_(
        col(AttemptRow.outcome).in_(("missing", "lost", "failed")),
        and_(_UNDISPATCHED, col(SessionRow.status) == SessionStatus.FAILED),
    ),
    _CAUSE.not_in(FULL),
)


@dataclass(frozen=True)
class PoolRecord:
    """The sessions of a pool whose outcome is known.

    `failed`: an attempt in this pool brought no agent, or its agent was lost, or Rollcall found no worker to
    try. `newest_failed` is the newest of these sessions, or empty.
    """

    sessions: int
    failed: int
    newest_failed: str

    @property
    def failed_percent(self) -> float:
        """Return the share of sessions that failed, in percent."""
        return 100 * self.failed / self.sessions if self.sessions else 0.0


async def read_pool_records(
    db: AsyncSession, agent_name: str, *, since: datetime
) -> Mapping[str, PoolRecord]:
    """Return the record of each pool, by the sessions that were requested since then."""
    session_id = col(SessionRow.id)
    failed_id = case((_FAILED, session_id))
    columns = (
        _POOL,
        func.count(distinct(session_id)),
        func.count(distinct(failed_id)),
        func.coalesce(func.max(failed_id), ""),
    )
    known = or_(col(AttemptRow.active_at).is_not(None), _FAILED)
    found = await db.execute(_of(agent_name, since, *columns).where(known).group_by(_POOL))
    return {pool: PoolRecord(*counts) for pool, *counts in found}


async def read_causes(db: AsyncSession, agent_name: str, pool: str, *, since: datetime) -> dict[str, int]:
    """Return how many attempts of a pool failed, by cause."""
    failed = (
        _of(agent_name, since, _CAUSE, func.count()).where(_FAILED, literal(pool) == _POOL).group_by(_CAUSE)
    )
    return {str(cause): number for cause, number in await db.execute(failed)}


def _of(agent_name: str, since: datetime, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select from the sessions requested since then, each with its attempts.

    Ids are ordered by time, so the index on agent name and id spares this query all older sessions.
    """
    return (
        select(*columns)
        .select_from(SessionRow)
        .outerjoin(AttemptRow, col(AttemptRow.session_id) == col(SessionRow.id))
        .where(col(SessionRow.agent_name) == agent_name, col(SessionRow.id) >= first_id(since))
    )
