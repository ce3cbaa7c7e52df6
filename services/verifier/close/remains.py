"""What is left in LiveKit of a session that is over, and whether its room may be closed.

LiveKit closes a room by name, whoever is in it, and a name lives longer than a session: it is used again
within a second, and people meet under it without us. So a room is closed only if it is the session's own
and nobody but the session's caller and agents would leave with it (ADR 24).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo, Room
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from shared.contracts.keys import SESSION_ATTRIBUTE
from shared.contracts.sessions import ENDED_BY_REQUEST, LIVE
from shared.core.sessions.tables import SessionRow
from shared.platform.livekit.client import is_agent, is_caller

# Whoever is in a client's room so long after the end has stayed, or come back, without the session.
STILL_THE_CALLER = timedelta(seconds=10)


@dataclass(frozen=True)
class Remains:
    """What to do: `agents` are to leave; the room is to be closed if `may_close`."""

    agents: list[ParticipantInfo] = field(default_factory=list)
    may_close: bool = False


def is_superseded() -> ColumnElement[bool]:
    """Sessions whose room's name has gone over to another one, which lives or was requested later."""
    other = aliased(SessionRow)
    same_name = select(col(other.id)).where(
        col(other.room_name) == col(SessionRow.room_name),
        col(other.id) != col(SessionRow.id),
        or_(col(other.status).in_(LIVE), col(other.id) > col(SessionRow.id)),
    )
    return same_name.exists()


def identities_of_jobs(dispatches: Iterable[AgentDispatch], session_id: str) -> set[str]:
    """Who joined for this session's dispatches only; a worker may give all its agents one identity."""
    ours: set[str] = set()
    others: set[str] = set()
    for dispatch in dispatches:
        mine = dispatch.attributes.get(SESSION_ATTRIBUTE) == session_id
        (ours if mine else others).update(job.state.participant_identity for job in dispatch.state.jobs)
    return ours - others - {""}


def remains_of(
    row: SessionRow,
    room: Room,
    present: Collection[ParticipantInfo],
    *,
    jobs: Collection[str],
    superseded: bool,
    now: datetime,
) -> Remains:
    """Judge a room by its name, its sid and who is in it.

    jobs: identities of the session's jobs. superseded: see `is_superseded`.
    """
    agents = [one for one in present if _is_ours(one, row, jobs)]
    people = [one for one in present if is_caller(one)]
    if superseded or any(person.identity != row.participant_identity for person in people):
        return Remains(agents)
    is_same = _is_same(row, room, agents)
    if not row.room_is_ours:
        return Remains(agents, may_close=is_same and (not people or _goes_with_session(row, now)))
    # Nobody else has this name: whoever makes the room anew is a late agent, or a caller with a used token.
    agents += [one for one in present if one not in agents and _is_of_no_session(one, row)]
    return Remains(agents, may_close=is_same or bool(people or agents))


def _is_ours(participant: ParticipantInfo, row: SessionRow, jobs: Collection[str]) -> bool:
    if participant.kind != ParticipantInfo.Kind.AGENT:
        return False
    session_id = participant.attributes.get(SESSION_ATTRIBUTE)
    if session_id is not None:
        return session_id == row.id
    return participant.sid == row.agent_sid or participant.identity in jobs


def _is_same(row: SessionRow, room: Room, agents: Collection[ParticipantInfo]) -> bool:
    """Is it the very room that the session had, and not another one of the same name?

    A LiveKit that was started anew gives the room of a running session another sid; its agent, which was
    there before the end, tells.
    """
    if row.room_sid is None:
        return row.room_is_ours  # nobody has seen the session's room; only its caller can have made this one
    ended_at = row.ended_at or row.requested_at
    return room.sid == row.room_sid or any(_joined_at(agent) <= ended_at for agent in agents)


def _is_of_no_session(participant: ParticipantInfo, row: SessionRow) -> bool:
    """An agent of the session's name whose worker doesn't report to us, and which tells of no session."""
    return is_agent(participant, row.agent_name) and SESSION_ATTRIBUTE not in participant.attributes


def _goes_with_session(row: SessionRow, now: datetime) -> bool:
    """The caller of a client's room leaves it only where the client ends the session himself."""
    asked_for = row.end_reason == ENDED_BY_REQUEST
    return asked_for and row.ended_at is not None and now - row.ended_at < STILL_THE_CALLER


def _joined_at(participant: ParticipantInfo) -> datetime:
    return datetime.fromtimestamp(participant.joined_at_ms / 1000 or participant.joined_at, tz=UTC)
