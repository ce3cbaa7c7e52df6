"""What the database knows of how the last sessions fared."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from shared.runtime.tables import SessionRow

# A dispatcher takes a session up within milliseconds, and the sweep gives it a second chance by then.
STALLED_AFTER = timedelta(seconds=3)

_VERDICTS = (SessionStatus.ACTIVE, SessionStatus.ENDED, SessionStatus.FAILED)


@dataclass(frozen=True)
class CanaryVerdict:
    """How a canary ended. `cause` is None if its agent was proven; `at` is when that was known."""

    session_id: str
    at: datetime
    cause: Cause | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As /health/agent shows it."""
        return {
            "session_id": self.session_id,
            "at": self.at.isoformat(),
            "ok": self.cause is None,
            "cause": self.cause,
        }


@dataclass(frozen=True)
class Records:
    """The last proven join of any agent; of one agent's name, its newest canary with a verdict, and
    whether an agent has joined since. `stalled` sessions wait for a dispatcher since `stalled_since`.
    """

    last_join: datetime | None = None
    canary: CanaryVerdict | None = None
    joined_since_canary: bool = False
    stalled: int = 0
    stalled_since: datetime | None = None


async def read_records(database: Database, *, agent_name: str, now: datetime) -> Records:
    """Read everything; each query has an index to itself, or stops at the first row."""
    async with database.read() as db:
        canary = await _newest_canary(db, agent_name)
        stalled, since = await _stalled(db, now)
        return Records(
            last_join=await _last_join(db),
            canary=canary,
            joined_since_canary=canary is not None and await _joined_since(db, agent_name, canary),
            stalled=stalled,
            stalled_since=since,
        )


async def _last_join(db: AsyncSession) -> datetime | None:
    newest = (
        select(col(SessionRow.active_at))
        .where(col(SessionRow.active_at).is_not(None))
        .order_by(col(SessionRow.id).desc())
        .limit(1)
    )
    return await db.scalar(newest)


async def _newest_canary(db: AsyncSession, agent_name: str) -> CanaryVerdict | None:
    newest = (
        select(SessionRow)
        .where(
            col(SessionRow.agent_name) == agent_name,
            col(SessionRow.canary).is_(True),
            col(SessionRow.status).in_(_VERDICTS),
        )
        .order_by(col(SessionRow.id).desc())
        .limit(1)
    )
    row = await db.scalar(newest)
    if row is None:
        return None
    if row.status != SessionStatus.FAILED:
        return CanaryVerdict(row.id, row.ready_at or row.active_at or row.requested_at)
    cause = Cause(row.cause or Cause.UNKNOWN)
    return CanaryVerdict(row.id, row.ended_at or row.requested_at, cause, row.evidence or {})


async def _joined_since(db: AsyncSession, agent_name: str, canary: CanaryVerdict) -> bool:
    later = select(col(SessionRow.id)).where(
        col(SessionRow.id) > canary.session_id,
        col(SessionRow.agent_name) == agent_name,
        col(SessionRow.active_at) > canary.at,
    )
    return await db.scalar(later.limit(1)) is not None


async def _stalled(db: AsyncSession, now: datetime) -> tuple[int, datetime | None]:
    # Every live session is due some time, so the index of those keeps this query off all that are over.
    waiting = select(func.count(), func.min(col(SessionRow.requested_at))).where(
        col(SessionRow.next_check_at).is_not(None),
        col(SessionRow.status) == SessionStatus.REQUESTED,
        col(SessionRow.waiting_for).is_(None),
        col(SessionRow.requested_at) < now - STALLED_AFTER,
    )
    count, since = (await db.execute(waiting)).one()
    return count, since
