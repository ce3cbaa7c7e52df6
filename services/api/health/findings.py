"""Find faults in the LiveKit project that don't stop the next session from getting its agent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlmodel import col

from shared.contracts.events import ForeignAgentSeen
from shared.core.sessions.foreign_agents import ADVICE, is_of_foreign_agent
from shared.core.sessions.tables import EventRow
from shared.platform.database.database import Database

UNNAMED_WORKER: Final = "unnamed_worker"
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
    """Read the findings of recent sessions; an index finds them at once."""
    newest = select(EventRow).where(is_of_foreign_agent()).order_by(col(EventRow.id).desc()).limit(1)
    async with database.read() as db:
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
