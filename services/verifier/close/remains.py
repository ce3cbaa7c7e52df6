"""Decide what remains of an ended session in LiveKit, and whether its room may be closed.

LiveKit closes a room by name, whoever is in it, and a name outlives a session: a client may use it again
within a second, and people may meet in the room without us. So a room is closed only if it is the session's
own, and if nobody but the session's caller and agents would be disconnected (ADR 24).
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

# People who are in a client's room this long after the end have stayed or come back without the session.
STILL_THE_CALLER = timedelta(seconds=10)


@dataclass(frozen=True)
class Remains:
    """What to do: remove `agents`, and close the room if `may_close`."""

    agents: list[ParticipantInfo] = field(default_factory=list)
    may_close: bool = False


def is_superseded() -> ColumnElement[bool]:
    """Return the condition for sessions whose room name a live or later session has."""
    other = aliased(SessionRow)
    same_name = select(col(other.id)).where(
        col(other.room_name) == col(SessionRow.room_name),
        col(other.id) != col(SessionRow.id),
        or_(col(other.status).in_(LIVE), col(other.id) > col(SessionRow.id)),
    )
    return same_name.exists()


def identities_of_jobs(dispatches: Iterable[AgentDispatch], session_id: str) -> set[str]:
    """Return the identities of this session's jobs only: a worker may give all its agents the same one."""
    ours: set[str] = set()
    others: set[str] = set()
    for dispatch in dispatches:
        mine = dispatch.attributes.get(SESSION_ATTRIBUTE) == session_id
        (ours if mine else others).update(job.state.participant_identity for job in dispatch.state.jobs)
    return ours - others - {""}


def remains_of(
    row: SessionRow,
    room: Room | None,
    present: Collection[ParticipantInfo],
    *,
    jobs: Collection[str],
    superseded: bool,
    now: datetime,
) -> Remains:
    """Judge a room by its name, its sid and its participants.

    Without `room`, it is not known whether this is another room of the same name. `jobs` are the identities
    of the session's jobs. For `superseded`, see `is_superseded`.
    """
    agents = [one for one in present if _is_ours(one, row, jobs)]
    people = [one for one in present if is_caller(one)]
    if superseded or any(person.identity != row.participant_identity for person in people):
        return Remains(agents)
    is_same = room is not None and _is_same(row, room, agents)
    if not row.room_is_ours:
        return Remains(agents, may_close=is_same and (not people or _goes_with_session(row, now)))
    # No other session has this name: only a late agent or a caller with a used token creates the room again.
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
    """Return whether this is the session's own room, and not another room of the same name.

    After a restart, LiveKit gives the room of a running session another sid; the agent, which was in it
    before the end, identifies it.
    """
    if row.room_sid is None:
        return row.room_is_ours  # nobody saw the session's room; only its caller can have created this one
    ended_at = row.ended_at or row.requested_at
    return room.sid == row.room_sid or any(_joined_at(agent) <= ended_at for agent in agents)


def _is_of_no_session(participant: ParticipantInfo, row: SessionRow) -> bool:
    """Return whether this is an agent of the session's name that names no session.

    Its worker does not report to us.
    """
    return is_agent(participant, row.agent_name) and SESSION_ATTRIBUTE not in participant.attributes


def _goes_with_session(row: SessionRow, now: datetime) -> bool:
    """Return whether the caller may be disconnected.

    In a client's room, that is only if the client ended the session.
    """
    asked_for = row.end_reason == ENDED_BY_REQUEST
    return asked_for and row.ended_at is not None and now - row.ended_at < STILL_THE_CALLER


def _joined_at(participant: ParticipantInfo) -> datetime:
    return datetime.fromtimestamp(participant.joined_at_ms / 1000 or participant.joined_at, tz=UTC)
