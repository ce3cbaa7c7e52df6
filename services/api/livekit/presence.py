"""Record what LiveKit's webhooks say about a session's agents: who joined, who left, and how."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from livekit.protocol.models import DisconnectReason, ParticipantInfo
from sqlalchemy import ColumnElement, String, Update, and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.contracts.keys import ATTEMPT_ATTRIBUTE, LIVEKIT_AGENT_NAME_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.database.columns import UtcDateTime, table_of


async def agent_arrived(
    db: AsyncSession, sessions: Sequence[str], agent: ParticipantInfo, now: datetime
) -> None:
    """Record an agent of the name as the current attempt's, since it may be gone before the verifier looks.

    If another agent is known to be the attempt's, this one is a second agent and is not recorded. Until the
    attempt's agent is known, the newest one is recorded, because an earlier attempt's webhook may arrive
    late.
    """
    await db.execute(_arrived(*_names(agent)), _current(sessions, agent) | {"now": now})


async def agent_left(
    db: AsyncSession, sessions: Sequence[str], agent: ParticipantInfo, now: datetime
) -> None:
    """Record how the current attempt's agent left.

    This ignores the end of a connection that the agent has since replaced: LiveKit reports the two in any
    order.
    """
    reason = DisconnectReason.Name(agent.disconnect_reason).lower()
    await db.execute(_left(*_names(agent)), _current(sessions, agent) | {"now": now, "reason": reason})


_SESSIONS: Final = table_of(SessionRow)
_ATTEMPTS: Final = table_of(AttemptRow)
_IDENTITY: Final = bindparam("identity", type_=String)
_SID: Final = bindparam("sid", type_=String)
_NOW: Final = bindparam("now", type_=UtcDateTime)


# Built once for each kind of agent: this runs for every session.
@cache
def _arrived(session: bool, attempt: bool) -> Update:
    old = _ATTEMPTS.c
    unproven = and_(old.reported_at.is_(None), old.active_at.is_(None))
    known = old.participant_identity
    return (
        update(_ATTEMPTS)
        .where(_is_current(session, attempt), or_(known.is_(None), known == _IDENTITY, unproven))
        .values(
            participant_identity=_IDENTITY,
            participant_sid=_SID,
            arrived_at=_NOW,
            left_at=None,
            left_reason=None,
        )
    )


@cache
def _left(session: bool, attempt: bool) -> Update:
    old = _ATTEMPTS.c
    same = or_(old.participant_sid.is_(None), old.participant_sid == _SID)
    return (
        update(_ATTEMPTS)
        .where(_is_current(session, attempt), old.participant_identity == _IDENTITY, same)
        .values(left_at=_NOW, left_reason=bindparam("reason"))
    )


def _is_current(session: bool, attempt: bool) -> ColumnElement[bool]:
    """Return a condition for the current attempts whose agent this may be.

    Our agents name their session and attempt; for any other, only the agent name is known.
    """
    of = _SESSIONS.c
    of_session = and_(of.id == _ATTEMPTS.c.session_id, of.attempt == _ATTEMPTS.c.number)
    wanted = [of.id.in_(bindparam("sessions", expanding=True)), of.agent_name == bindparam("agent_name")]
    if session:
        wanted.append(of.id == bindparam("of_session"))
    if attempt:
        wanted.append(of.attempt == bindparam("of_attempt"))
    return select(of.id).where(of_session, *wanted).exists()


def _names(agent: ParticipantInfo) -> tuple[bool, bool]:
    """Return whether the agent names its session, and its attempt."""
    attempt = agent.attributes.get(ATTEMPT_ATTRIBUTE, "")
    return SESSION_ATTRIBUTE in agent.attributes, attempt.isdecimal()


def _current(sessions: Sequence[str], agent: ParticipantInfo) -> dict[str, Any]:
    told = agent.attributes
    named, numbered = _names(agent)
    return {
        "sessions": list(sessions),
        "agent_name": told.get(LIVEKIT_AGENT_NAME_ATTRIBUTE),
        "identity": agent.identity,
        "sid": agent.sid,
        **({"of_session": told[SESSION_ATTRIBUTE]} if named else {}),
        **({"of_attempt": int(told[ATTEMPT_ATTRIBUTE])} if numbered else {}),
    }
