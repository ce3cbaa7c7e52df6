"""Write down what LiveKit's webhooks say of a session's agents: who came, who left, and how."""

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
    """Remember an agent of the name as that of the current attempts: it may be gone before anybody looks.

    Where another is known to be the attempt's agent, this one is one too many. As long as nobody has seen
    whose it is, the newest is: an earlier attempt's may be told of late.
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
    """Remember how the agent of the current attempts left.

    Not that of a connection that it has replaced by another since: LiveKit tells of the two in any order.
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
    """The current attempts of those sessions whose agent this may be.

    Ours say whose they are; of any other only the name tells.
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
