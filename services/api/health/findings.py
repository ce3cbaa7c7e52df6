"""Find faults that don't stop the next session from getting its agent, and that the operator should mend."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import ForeignAgentSeen
from shared.core.pools.tables import TrafficRow
from shared.core.sessions.foreign_agents import ADVICE, is_of_foreign_agent
from shared.core.sessions.tables import EventRow
from shared.platform.database.database import Database

UNNAMED_WORKER: Final = "unnamed_worker"
SHARE_TAKEN_BACK: Final = "share_taken_back"
_OF_TAKEN_BACK: Final = ("agent_name", "deployment", "percent", "sessions", "failed", "causes")
# Nothing reports that such a worker is gone. After this time it has not been seen for a while.
SEEN_FOR: Final = timedelta(minutes=15)


@dataclass(frozen=True)
class Finding:
    """A fault that the operator should fix, when it was last seen, and what to do."""

    code: str
    seen_at: datetime
    evidence: dict[str, Any]
    fix: str

    def as_json(self) -> dict[str, Any]:
        """Return it as in /health/agent."""
        return {
            "code": self.code,
            "seen_at": self.seen_at.isoformat(),
            "evidence": self.evidence,
            "fix": self.fix,
        }


async def read_findings(database: Database, *, now: datetime) -> list[Finding]:
    """Read the findings of recent sessions, and the shares that were taken back."""
    async with database.read() as db:
        return [*await _unnamed_workers(db, now), *await _shares_taken_back(db)]


async def _unnamed_workers(db: AsyncSession, now: datetime) -> list[Finding]:
    newest = select(EventRow).where(is_of_foreign_agent()).order_by(col(EventRow.id).desc()).limit(1)
    event = await db.scalar(newest)
    if event is None or event.occurred_at < now - SEEN_FOR:
        return []
    seen = ForeignAgentSeen.model_validate(event.data)
    evidence = {
        "session_id": event.session_id,
        "participant_identity": seen.participant_identity,
        "removed": seen.removed,
    }
    return [Finding(UNNAMED_WORKER, event.occurred_at, evidence, ADVICE)]


async def _shares_taken_back(db: AsyncSession) -> list[Finding]:
    return [
        Finding(
            SHARE_TAKEN_BACK,
            datetime.fromisoformat(taken["at"]),
            {name: taken[name] for name in _OF_TAKEN_BACK},
            taken["advice"],
        )
        for row in await db.scalars(select(TrafficRow))
        for taken in row.taken_back
    ]
