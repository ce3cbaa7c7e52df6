"""Everything that happens, as typed events in a CloudEvents 1.0 envelope.

An event's `type` ends in its version. A changed shape gets a new type. Every type that was ever emitted stays
here, so that old entries can still be parsed; golden files in tests/contracts check that.
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
    """How urgent an event is for the operator."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class UnknownEvent(ValueError):
    """An envelope has a type that no model here describes."""


class Event(CleanModel):
    """Base of all events: frozen, with clean text; it ignores keys that a later minor version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    severity: ClassVar[Severity] = Severity.INFO


class Envelope(CleanModel):
    """CloudEvents 1.0 in structured JSON.

    `sequence` numbers the events of one session from 1. `traceparent` is the event's place in the session's
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
        """Read an envelope's JSON from any writer; raises `pydantic.ValidationError`."""
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
        """Return the session that the subject names; raises `ValueError` if it names none."""
        kind, _, session_id = self.subject.partition("/")
        if kind != "session" or not session_id:
            raise ValueError(f"subject {self.subject!r} names no session")
        return SessionId(session_id)

    def event(self) -> Event:
        """Return the typed event; raises `UnknownEvent` or `pydantic.ValidationError` if it is not one."""
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
    """Put an event of a session into its envelope.

    Readers recognise an event that is sent again by `event_id`.
    """
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


# --- What an agent worker reports about its job: the reports stream -------------------------------------


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
    # The worker sends this after the death of a job that could not close, from the job's spool on disk. It is
    # not a step of the job, and does not say when the job ended.
    SETTLED = "settled"  # `turns` is how many it published


class AgentError(CleanModel):
    """What failed in an agent's job. `cause` is set if the worker found the cause itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Id
    message: Brief
    cause: Cause | None = None
    descriptor: Id | None = None
    recoverable: bool = False


class AgentReported(Event):
    """One step of one job, reported by the worker that runs it.

    It is a hint: the verifier polls to decide. `misplaced`: the job was addressed to one worker, and LiveKit
    offered it by another way. `in_order`: the agent's own code has ended the job because it is done, whatever
    its `reason`.
    """

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
    misplaced: bool = False
    in_order: bool = Field(False, exclude_if=lambda in_order: not in_order)


# --- What was said: the turns stream -------------------------------------------------------------


def _numbers(values: Any) -> Any:
    """Drop values that are not numbers, so that one unknown latency does not invalidate the turn."""
    if not isinstance(values, dict):
        return values
    return {name: value for name, value in values.items() if value is not None}


class Said(Event):
    """Base of events that carry text.

    Text is cut to `MAX_TEXT_BYTES`; `cut_from_bytes` then says how long it was.
    """

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
    """One finished message of one speaker, or one tool call. Its identity is `item_id`, the SDK's id.

    `seq` numbers the turns of the session from 1. The times are when the turn began and ended, if the SDK
    knows. `metrics` are latencies in seconds, under the SDK's names. The words of a tool's call or answer are
    only in `text`. If `text` was cut, `cut_from_bytes` is its original length.
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
    """A test of whether a webhook endpoint gets its events. Its subject is the endpoint."""

    type: ClassVar[str] = "webhook.test.v1"
    endpoint_id: str


# --- What is being said: published live, kept nowhere -----------------------------------------------


class CaptionChanged(Said):
    """The words so far of something that is being said. The finished turn is another event.

    A caption replaces the previous one with the same `segment_id`; `final` closes the segment.
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
    ShareTakenBack,
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
