"""Record what LiveKit's webhooks say about a session's agents: who joined, who left, and how."""

from collections.abc import Sequence
from datetime import datetime

from livekit.protocol.models import DisconnectReason, ParticipantInfo
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.keys import ATTEMPT_ATTRIBUTE, LIVEKIT_AGENT_NAME_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.core.sessions.tables import AttemptRow, SessionRow


async def agent_arrived(
    db: AsyncSession, sessions: Sequence[str], agent: ParticipantInfo, now: datetime
) -> None:
    """Record an agent of the name as the current attempt's, since it may be gone before the verifier looks.

    If another agent is known to be the attempt's, this one is a second agent and is not recorded. Until the
    attempt's agent is known, the newest one is recorded, because an earlier attempt's webhook may arrive
    late.
    """
    known = col(AttemptRow.participant_identity)
    unproven = and_(col(AttemptRow.reported_at).is_(None), col(AttemptRow.active_at).is_(None))
    came = update(AttemptRow).where(
        _current(sessions, agent), or_(known.is_(None), known == agent.identity, unproven)
    )
    values = {
        "participant_identity": agent.identity,
        "participant_sid": agent.sid,
        "arrived_at": now,
        "left_at": None,
        "left_reason": None,
    }
    await db.execute(came.values(values).execution_options(synchronize_session=False))


async def agent_left(
    db: AsyncSession, sessions: Sequence[str], agent: ParticipantInfo, now: datetime
) -> None:
    """Record how the current attempt's agent left.

    This ignores the end of a connection that the agent has since replaced: LiveKit reports the two in any
    order.
    """
    sid = col(AttemptRow.participant_sid)
    left = update(AttemptRow).where(
        _current(sessions, agent),
        col(AttemptRow.participant_identity) == agent.identity,
        or_(sid.is_(None), sid == agent.sid),
    )
    reason = DisconnectReason.Name(agent.disconnect_reason).lower()
    values = {"left_at": now, "left_reason": reason}
    await db.execute(left.values(values).execution_options(synchronize_session=False))


def _current(sessions: Sequence[str], agent: ParticipantInfo) -> ColumnElement[bool]:
    """Return a condition for the current attempts whose agent this may be.

    Our agents name their attempt; for any other, only the agent name is known.
    """
    of_session = and_(
        col(SessionRow.id) == col(AttemptRow.session_id), col(SessionRow.attempt) == col(AttemptRow.number)
    )
    name = agent.attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE)
    wanted = [col(SessionRow.id).in_(sessions), col(SessionRow.agent_name) == name]
    session_id, attempt = agent.attributes.get(SESSION_ATTRIBUTE), agent.attributes.get(ATTEMPT_ATTRIBUTE)
    if session_id is not None:
        wanted.append(col(SessionRow.id) == session_id)
    if attempt is not None and attempt.isdecimal():
        wanted.append(col(SessionRow.attempt) == int(attempt))
    return select(col(SessionRow.id)).where(of_session, *wanted).exists()
