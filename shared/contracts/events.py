"""Everything that happens, as typed events in a CloudEvents 1.0 envelope.

An event's `type` ends in its version; a new shape gets a new type, and every type ever emitted stays
here, so that old entries keep parsing (golden files in tests/contracts hold us to it).
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shared.contracts.causes import Cause
from shared.contracts.identifiers import EventId, SessionId, new_id
from shared.contracts.sessions import Mode, Role
from shared.contracts.text import (
    ALREADY_CLEAN,
    MAX_TEXT_BYTES,
    Brief,
    CleanModel,
    Id,
    clean,
    cleaned,
    cut,
    is_surely_clean,
    size_of,
    well_formed,
)
from shared.contracts.tools import said_once
from shared.contracts.traceparent import Traceparent


class Severity(StrEnum):
    """How loudly an event speaks to the operator."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class UnknownEvent(ValueError):
    """An envelope whose type no model here describes."""


class Event(CleanModel):
    """Base of all events: frozen, clean, and tolerant of keys that a later minor version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    severity: ClassVar[Severity] = Severity.INFO


class Envelope(CleanModel):
    """CloudEvents 1.0 in structured JSON.

    `sequence` counts the events of one session from 1. `traceparent` is the event's place in the session's
    trace.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: str = "1.0"
    id: EventId = Field(default_factory=lambda: EventId(new_id()))
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    severity: Severity = Severity.INFO
    sequence: int | None = None
    traceparent: Traceparent = None
    data: dict[str, Any]

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read an envelope's JSON, whoever wrote it; raises `pydantic.ValidationError`."""
        if is_surely_clean(text):
            return cls.model_validate_json(text, context=ALREADY_CLEAN)
        return cls.model_validate_json(well_formed(text))

    @field_validator("specversion")
    @classmethod
    def _version_one(cls, value: str) -> str:
        if value != "1.0":
            raise ValueError("only CloudEvents 1.0 is understood")
        return value

    @property
    def session_id(self) -> SessionId:
        """The session that the subject names; raises `ValueError` if it names none."""
        kind, _, session_id = self.subject.partition("/")
        if kind != "session" or not session_id:
            raise ValueError(f"subject {self.subject!r} names no session")
        return SessionId(session_id)

    def event(self) -> Event:
        """Return the typed event; `UnknownEvent` or `pydantic.ValidationError` if it is none."""
        model = EVENT_TYPES.get(self.type)
        if model is None:
            raise UnknownEvent(f"no event type {self.type!r}")
        return model.model_validate(self.data, context=ALREADY_CLEAN)


def wrap(
    event: Event,
    *,
    session_id: SessionId,
    source: str,
    time: datetime,
    sequence: int | None = None,
    event_id: str | None = None,
    traceparent: str | None = None,
) -> Envelope:
    """Put an event of a session into its envelope; `event_id` makes a resend recognisable."""
    return Envelope(
        id=EventId(event_id or new_id()),
        source=source,
        type=event.type,
        subject=f"session/{session_id}",
        time=time,
        severity=event.severity,
        sequence=sequence,
        traceparent=traceparent,
        data=event.model_dump(mode="json"),
    )


# --- What becomes of a session: its history and its outbox ---------------------------------------


class SessionReserved(Event):
    """A token was handed out; an agent is called when its holder joins, until `expires_at`."""

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
    """The session is not dispatched yet, since nothing could come of it; `place` 1 is the next in line."""

    type: ClassVar[str] = "session.waiting.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    cause: Cause
    place: int | None = None
    evidence: dict[str, Any] = {}


class DispatchStarted(Event):
    """A dispatcher claimed the session and is about to call LiveKit."""

    type: ClassVar[str] = "dispatch.started.v1"
    attempt: int
    max_attempts: int


class DispatchAccepted(Event):
    """LiveKit took the dispatch (level `accepted`). It proves nothing about an agent."""

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
    """The agent of an active session is gone while its caller is still there; a new one is called.

    `revival` counts the replacements of the session from 1.
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
    """An agent that nobody dispatched was beside the session's own: its worker has no `agent_name`.

    LiveKit sends such a worker into every room that somebody makes by joining it. `removed` says that the
    agent was taken out, which is done in rooms that Rollcall has named. Somebody has to act: see `advice`.
    """

    type: ClassVar[str] = "agent.foreign_seen.v1"
    severity: ClassVar[Severity] = Severity.WARNING
    participant_identity: str
    attempt: int | None = None
    removed: bool
    advice: str


class SessionFailed(Event):
    """The session has no agent, and no attempt is left. Somebody has to act.

    `agent_joined`: an agent was in the room and was lost, after `revivals` replacements; else none ever
    came.
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
    """The conversation is over. Of a conversation that never began, `reason` is `caller_never_came`."""

    type: ClassVar[str] = "session.ended.v1"
    reason: str


class SessionExpired(Event):
    """A reservation that nobody used is over. Nothing is wrong: each page load may make one."""

    type: ClassVar[str] = "session.expired.v1"
    reason: str


class SessionCancelled(Event):
    """The session was over before an agent was in the room: by request, or since the caller had left.

    `cause` and `evidence` are what was known by then of why there was no agent yet.
    """

    type: ClassVar[str] = "session.cancelled.v1"
    reason: str
    cause: Cause | None = None
    evidence: dict[str, Any] = {}


# --- What an agent worker says of its job: the reports stream -------------------------------------


class Step(StrEnum):
    """A step of a job, in the order in which they come."""

    ACCEPTED = "accepted"  # the worker took the job
    REJECTED = "rejected"  # the worker turned the job down; `reason` says why
    ENTRYPOINT_STARTED = "entrypoint_started"  # the job's process runs our code
    CONNECTED = "connected"  # the agent is in the room
    READY = "ready"  # the agent session listens
    FIRST_SPEECH = "first_speech"  # the agent began to speak
    ERROR = "error"  # something failed; `error` says what
    CLOSED = "closed"  # the job is over; `turns` is how many it published
    # Told after the death of a job that could not close, of its spool on disk; no step of the job itself,
    # and no sign of when it ended.
    SETTLED = "settled"  # `turns` is how many it published


class AgentError(CleanModel):
    """What failed in an agent's job. `cause` is the worker's own finding, if it has one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Id
    message: Brief
    cause: Cause | None = None
    descriptor: Id | None = None
    recoverable: bool = False


class AgentReported(Event):
    """One step of one job, told by the worker that runs it. A hint: the verifier polls to decide."""

    type: ClassVar[str] = "agent.reported.v1"
    session_id: SessionId
    attempt: int
    step: Step
    room_name: Id
    worker_id: Id
    agent_name: Id
    job_id: Id
    participant_identity: Id | None = None
    participant_sid: Id | None = None
    room_sid: Id | None = None
    reason: Brief | None = None
    turns: int | None = None
    error: AgentError | None = None


# --- What was said: the turns stream -------------------------------------------------------------


def _numbers(values: Any) -> Any:
    """Without what is no number: one latency that can't be told must not cost the turn."""
    if not isinstance(values, dict):
        return values
    return {name: value for name, value in values.items() if value is not None}


class Said(Event):
    """Base of what carries words: they are cut to `MAX_TEXT_BYTES`, and it is said how long they were."""

    text: str
    cut_from_bytes: int | None = Field(None, exclude_if=lambda size: size is None)

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, data: Any) -> Any:
        text = data.get("text") if isinstance(data, dict) else None
        if not isinstance(text, str):
            return data
        data = {**data, "text": (text := clean(text))}
        if isinstance(data.get("extra"), dict):
            data["extra"] = said_once(str(data.get("kind")), text, cleaned(data["extra"]))
        if (size := size_of(text)) > MAX_TEXT_BYTES:
            data |= {"text": cut(text, MAX_TEXT_BYTES), "cut_from_bytes": size}
        return data


class TurnFinished(Said):
    """One finished message of one speaker, or one tool call. `item_id` is the SDK's, and its identity.

    `seq` counts the turns of the session from 1. Times are when the turn began and ended, where the
    SDK knows. `metrics` are latencies in seconds, by the SDK's names. The words of a tool's call and of its
    answer are the `text`, and nowhere else. `cut_from_bytes` is how long a text was of which this is the
    beginning.
    """

    type: ClassVar[str] = "transcript.turn_finished.v1"
    session_id: SessionId
    attempt: int
    seq: int
    item_id: Id
    kind: Id = "message"
    role: Role
    interrupted: bool = False
    language: Id | None = None
    confidence: float | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    participant_identity: Id | None = None
    job_id: Id | None = None
    worker_id: Id | None = None
    metrics: Annotated[dict[str, float], BeforeValidator(_numbers)] = {}
    extra: dict[str, Any] = {}


# --- Webhooks out --------------------------------------------------------------------------------


class WebhookTested(Event):
    """Somebody wants to see whether a webhook endpoint gets its events; its subject is the endpoint."""

    type: ClassVar[str] = "webhook.test.v1"
    endpoint_id: str


# --- What is being said: published live, kept nowhere -----------------------------------------------


class CaptionChanged(Said):
    """The words so far of something that is being said. The turn that comes of it is another event.

    A caption takes the place of the one before with the same `segment_id`; `final` closes the segment.
    """

    type: ClassVar[str] = "transcript.caption_changed.v1"
    session_id: SessionId
    attempt: int
    segment_id: Id
    role: Role
    final: bool = False
    language: Id | None = None
    participant_identity: Id | None = None


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
    SessionFailed,
    SessionEnded,
    SessionCancelled,
    SessionExpired,
)

_ALL: Final[tuple[type[Event], ...]] = (
    *SESSION_EVENTS,
    AgentReported,
    TurnFinished,
    CaptionChanged,
    WebhookTested,
)
EVENT_TYPES: Final[Mapping[str, type[Event]]] = {model.type: model for model in _ALL}
