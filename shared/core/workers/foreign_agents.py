"""Agents of workers without an `agent_name`: LiveKit sends them into rooms without being asked.

A room that is made by joining it, or by `CreateDispatch`, gets a dispatch with an empty name, and every
unnamed worker of the LiveKit project takes it (pkg/rtc/room.go, livekit-server 1.13.5). So a second agent
speaks beside the session's own, and nobody has asked for it.
"""

from datetime import datetime
from typing import Final

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo
from prometheus_client import Counter
from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import ForeignAgentSeen
from shared.contracts.keys import LIVEKIT_AGENT_NAME_ATTRIBUTE, LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE
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


def is_unnamed_agent(participant: ParticipantInfo) -> bool:
    """True for an agent that was sent by itself; not for an avatar, nor for one dispatched by its name.

    LiveKit stamps `lk.agent_name` on every agent, also where the name is empty.
    """
    attributes = participant.attributes
    return (
        participant.kind == ParticipantInfo.Kind.AGENT
        and attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE) == ""
        and LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE not in attributes
    )


def is_automatic(dispatch: AgentDispatch) -> bool:
    """True for the dispatch that LiveKit makes by itself; nobody could give it metadata or attributes."""
    return not (dispatch.agent_name or dispatch.metadata or dispatch.attributes)


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
        await record(db, row.id, event, now=now)
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
