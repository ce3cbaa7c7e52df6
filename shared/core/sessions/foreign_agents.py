"""Tell once of each agent that nobody dispatched, where it was found in a session's room.

What such an agent is, `shared.core.workers.foreign_agents` says.
"""

from datetime import datetime
from typing import Final

from prometheus_client import Counter
from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import ForeignAgentSeen
from shared.core.sessions.repository import record
from shared.core.sessions.tables import EventRow, SessionRow
from shared.platform.database.database import Database
from shared.platform.logs.logs import get_logger

ADVICE: Final = (
    "A worker without an agent_name is registered in this LiveKit project, and joins rooms beside the "
    "session's agent. Give it a name (agent_name in livekit-agents), stop it, or give it a project of its "
    "own."
)

log = get_logger(__name__)

_SEEN = Counter(
    "session_foreign_agents_total",
    "Agents of workers without an agent_name found beside a session's agent.",
    ["outcome"],
)
for _outcome in ("removed", "left"):
    _SEEN.labels(_outcome)


def is_of_foreign_agent() -> ColumnElement[bool]:
    """Events of foreign agents, in the words of their index: SQLite uses it for no others."""
    return col(EventRow.type) == literal_column(f"'{ForeignAgentSeen.type}'")


async def foreign_agent_seen(
    database: Database, row: SessionRow, identity: str, *, removed: bool, now: datetime
) -> None:
    """Tell of a foreign agent in a session's room: event, log line and count, once for each agent."""
    event = ForeignAgentSeen(
        participant_identity=identity, attempt=row.attempt, removed=removed, advice=ADVICE
    )
    async with database.write() as db:
        if await _is_known(db, row, identity):
            return
        await record(db, row, event, now=now)
    _SEEN.labels("removed" if removed else "left").inc()
    log.warning(
        "foreign_agent_found",
        message=f"an agent that nobody dispatched is in room {row.room_name}: {identity}",
        participant_identity=identity,
        removed=removed,
        advice=ADVICE,
    )


async def _is_known(db: AsyncSession, row: SessionRow, identity: str) -> bool:
    told = select(EventRow).where(col(EventRow.session_id) == row.id, is_of_foreign_agent())
    return any(event.data["participant_identity"] == identity for event in await db.scalars(told))
