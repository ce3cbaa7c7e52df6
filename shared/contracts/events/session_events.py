"""What becomes of a session: the events of its history, which is also its outbox."""

from datetime import datetime
from typing import Any, ClassVar, Final

from shared.contracts.causes import Cause
from shared.contracts.events.base import Event, Severity
from shared.contracts.sessions import Mode


class SessionReserved(Event):
    """A client got a token. An agent is dispatched when the token's holder joins, until `expires_at`."""

    type: ClassVar[str] = "session.reserved.v1"
    room_name: str
    agent_name: str
    mode: Mode
    expires_at: datetime


class SessionRequested(Event):
    """A client asked for a session, or joined one that was reserved; an agent is wanted."""

    type: ClassVar[str] = "session.requested.v1"
    room_name: str
    agent_name: str
    mode: Mode


class SessionWaiting(Event):
    """The session waits, because no agent could come now; `place` 1 is the next in line."""

    type: ClassVar[str] = "session.waiting.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    cause: Cause
    place: int | None = None
    evidence: dict[str, Any] = {}


class DispatchStarted(Event):
    """A dispatcher claimed the session and is about to call LiveKit.

    `worker_id` is the worker that it chose; null: whom LiveKit chooses.
    """

    type: ClassVar[str] = "dispatch.started.v1"
    attempt: int
    max_attempts: int
    worker_id: str | None = None


class DispatchAccepted(Event):
    """LiveKit took the dispatch (level `accepted`). That proves nothing about an agent."""

    type: ClassVar[str] = "dispatch.accepted.v1"
    attempt: int
    dispatch_id: str


class DispatchFailed(Event):
    """LiveKit did not take the dispatch, and another attempt follows."""

    type: ClassVar[str] = "dispatch.failed.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    attempt: int
    cause: Cause
    evidence: dict[str, Any] = {}
    retry_in_s: float


class AgentAssigned(Event):
    """A worker took the job (level `assigned`)."""

    type: ClassVar[str] = "agent.assigned.v1"
    attempt: int
    worker_id: str | None = None
    job_id: str | None = None


class AgentJoined(Event):
    """The agent of this attempt is in the room, ACTIVE (level `active`)."""

    type: ClassVar[str] = "agent.joined.v1"
    attempt: int
    participant_identity: str
    participant_sid: str
    worker_id: str | None = None
    join_seconds: float


class AgentReady(Event):
    """The agent listens: its state is past initializing, or its audio track is published."""

    type: ClassVar[str] = "agent.ready.v1"
    attempt: int


class AgentSpoke(Event):
    """The agent said its first word (level `first_speech`)."""

    type: ClassVar[str] = "agent.first_speech.v1"
    attempt: int


class AgentMissing(Event):
    """The agent did not come in this attempt's time, and another attempt follows."""

    type: ClassVar[str] = "agent.missing.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    attempt: int
    cause: Cause
    evidence: dict[str, Any] = {}


class AgentLost(Event):
    """The agent of an active session is gone and its caller is still there. A new agent is dispatched.

    `revival` numbers the replacements in this session from 1.
    """

    type: ClassVar[str] = "agent.lost.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    attempt: int
    cause: Cause
    evidence: dict[str, Any] = {}
    revival: int | None = None


class ExtraAgentRemoved(Event):
    """A second agent of this session was found in the room and removed."""

    type: ClassVar[str] = "agent.extra_removed.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    participant_identity: str
    attempt: int | None = None


class ForeignAgentSeen(Event):
    """An agent that nobody dispatched was in the room; its worker has no `agent_name`.

    LiveKit sends such a worker into every room that a participant creates by joining. `removed` says whether
    Rollcall removed the agent, which it does only in rooms that it has named. The operator has to act: see
    `advice`.
    """

    type: ClassVar[str] = "agent.foreign_seen.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    participant_identity: str
    attempt: int | None = None
    removed: bool
    advice: str


class ShareTakenBack(Event):
    """Too many sessions of a pool failed, so its share of the sessions went to another pool.

    The newest of these sessions has the event. `percent` was the pool's share; `shares` are those of all
    pools now. Of `sessions` requested since `since`, `failed` got no agent by an attempt in the pool, or lost
    it; `causes` counts their attempts by cause. The pool gets no session by shares until an operator sets the
    shares again: see `advice`.
    """

    type: ClassVar[str] = "pool.share_taken_back.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    agent_name: str
    deployment: str
    percent: int
    shares: dict[str, int]
    sessions: int
    failed: int
    causes: dict[str, int] = {}
    since: datetime
    advice: str


class SessionFailed(Event):
    """The session has no agent, and no attempt is left. The operator has to act.

    If `agent_joined` is true, an agent was in the room and was lost, after `revivals` replacements. If it is
    false, no agent ever came.
    """

    type: ClassVar[str] = "session.failed.v1"
    severity: ClassVar[Severity] = Severity.CRITICAL
    attempt: int
    cause: Cause
    evidence: dict[str, Any] = {}
    advice: str
    agent_joined: bool = False
    revivals: int = 0


class SessionEnded(Event):
    """The conversation is over. If it never began, `reason` is `caller_never_came`."""

    type: ClassVar[str] = "session.ended.v1"
    reason: str


class SessionExpired(Event):
    """A reservation expired unused. Nothing is wrong: each page load may make one."""

    type: ClassVar[str] = "session.expired.v1"
    reason: str


class SessionCancelled(Event):
    """The session ended before an agent was in the room: by request, or because the caller left.

    `cause` and `evidence` say why there was no agent yet, as far as Rollcall knew by then.
    """

    type: ClassVar[str] = "session.cancelled.v1"
    reason: str
    cause: Cause | None = None
    evidence: dict[str, Any] = {}


SESSION_EVENTS: Final[tuple[type[Event], ...]] = (
    SessionReserved,
    SessionRequested,
    SessionWaiting,
    DispatchStarted,
    DispatchAccepted,
    DispatchFailed,
    AgentAssigned,
    AgentJoined,
    AgentReady,
    AgentSpoke,
    AgentMissing,
    AgentLost,
    ExtraAgentRemoved,
    ForeignAgentSeen,
    ShareTakenBack,
    SessionFailed,
    SessionEnded,
    SessionCancelled,
    SessionExpired,
)
