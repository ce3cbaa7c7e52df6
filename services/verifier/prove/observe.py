"""Look at a room once, and return what it shows of a session's agent."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from livekit.protocol.agent import Job, JobStatus
from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo, TrackType

from services.verifier.ports import Rooms
from shared.contracts.keys import ATTEMPT_ATTRIBUTE, LIVEKIT_AGENT_STATE_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.core.sessions.tables import SessionRow
from shared.core.workers.foreign_agents import is_unnamed_agent
from shared.platform.livekit.client import is_active, is_agent, is_caller


@dataclass(frozen=True)
class Sighting:
    """The result of one look at the room."""

    agent: ParticipantInfo | None = None  # the agent of this attempt, ACTIVE
    connecting: ParticipantInfo | None = None  # the agent of this attempt, not yet ACTIVE
    extra: list[ParticipantInfo] = field(default_factory=list)  # agents that should not be there
    # agents of the name that can't be bound to an attempt
    unbound: list[ParticipantInfo] = field(default_factory=list)
    foreign: list[ParticipantInfo] = field(default_factory=list)  # agents of workers without a name
    callers: int = 0
    participants: int = 0


@dataclass(frozen=True)
class JobSighting:
    """What LiveKit shows of the attempt's job. LiveKit never updates its state after the assignment."""

    identity: str | None = None
    refused: bool = False  # the worker turned the job down for good
    job_id: str | None = None
    worker_id: str | None = None
    room_sid: str | None = None
    taken_at: datetime | None = None  # by LiveKit's clock


async def look_at_room(row: SessionRow, *, rooms: Rooms, job: JobSighting) -> Sighting:
    """List the room's participants and bind its agents to this session's attempts.

    Our own workers' agents have session and attempt as attributes. Any other worker's agent is bound by the
    identity of the job that LiveKit made from our dispatch. Any other agent of the same name beside the
    session's is an extra agent, whoever dispatched it.
    """
    participants = await rooms.participants(row.room_name)
    ours: list[ParticipantInfo] = []
    extra: list[ParticipantInfo] = []
    unbound: list[ParticipantInfo] = []
    for agent in participants:
        if not is_agent(agent, row.agent_name):
            continue
        session_id = agent.attributes.get(SESSION_ATTRIBUTE)
        if session_id == row.id:
            current = agent.attributes.get(ATTEMPT_ATTRIBUTE) == str(row.attempt)
            (ours if current else extra).append(agent)
        elif session_id is None:
            (ours if job.identity == agent.identity else unbound).append(agent)
    # Of two agents of one attempt, the known one stays, or else the one that joined first.
    active = sorted(
        filter(is_active, ours),
        key=lambda agent: (
            agent.identity not in (row.agent_identity, job.identity),
            agent.joined_at_ms or agent.joined_at * 1000,
        ),
    )
    return Sighting(
        agent=active[0] if active else None,
        connecting=next((agent for agent in ours if not is_active(agent)), None),
        extra=[*extra, *active[1:], *(unbound if active else [])],
        unbound=[] if active else unbound,
        foreign=list(filter(is_unnamed_agent, participants)),
        callers=sum(map(is_caller, participants)),
        participants=len(participants),
    )


def is_ready(agent: ParticipantInfo) -> bool:
    """Return whether the agent listens: its state is past initializing, or its audio is published."""
    state = agent.attributes.get(LIVEKIT_AGENT_STATE_ATTRIBUTE, "initializing")
    return state != "initializing" or any(track.type == TrackType.AUDIO for track in agent.tracks)


def is_speaking(agent: ParticipantInfo) -> bool:
    """Return whether the agent's state is speaking; only an agent with an agent session sets it."""
    return agent.attributes.get(LIVEKIT_AGENT_STATE_ATTRIBUTE) == "speaking"


async def look_at_job(row: SessionRow, dispatch_id: str, *, rooms: Rooms) -> JobSighting:
    """Ask LiveKit for the job of the attempt's dispatch; the room must exist.

    The job appears up to 5.2 s late: an empty answer before that proves nothing. If LiveKit has created the
    room again from its store, there is another dispatch of the same attempt instead.
    """
    dispatches = await rooms.dispatches(row.room_name)
    of_attempt = [one for one in dispatches if one.id == dispatch_id or _is_of_attempt(row, one)]
    for dispatch in sorted(of_attempt, key=lambda one: one.id != dispatch_id):
        if dispatch.state.jobs:
            return _job_sighting(dispatch.state.jobs[-1])
    return JobSighting()


def _is_of_attempt(row: SessionRow, dispatch: AgentDispatch) -> bool:
    bound = (dispatch.attributes.get(SESSION_ATTRIBUTE), dispatch.attributes.get(ATTEMPT_ATTRIBUTE))
    return bound == (row.id, str(row.attempt))


def _job_sighting(job: Job) -> JobSighting:
    # livekit-server 1.13.5 writes worker and time when it offers the job (pkg/agent/worker.go).
    state = job.state
    return JobSighting(
        identity=state.participant_identity or None,
        refused=state.status == JobStatus.JS_SUCCESS and not state.participant_identity,
        job_id=job.id or None,
        worker_id=state.worker_id or None,
        room_sid=job.room.sid or None,
        taken_at=datetime.fromtimestamp(state.started_at / 1e9, UTC) if state.started_at else None,
    )
