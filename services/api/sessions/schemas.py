"""The JSON of sessions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import Envelope
from shared.contracts.models import Models
from shared.contracts.names import AgentName, Deployment, Name, Text
from shared.contracts.sessions import Level, Mode, SessionStatus
from shared.contracts.traceparent import trace_id_of
from shared.core.sessions.tables import AttemptRow, SessionRow


def _metadata(value: object) -> object:
    if not isinstance(value, dict | str):
        raise ValueError("must be an object or a string")  # noqa: TRY004 - what pydantic takes for a refusal
    return value


class StartSession(BaseModel):
    """The session that a client wants; all fields are optional."""

    model_config = ConfigDict(extra="forbid")

    agent_name: AgentName | None = Field(None, description="default: LIVEKIT_AGENT_NAME")
    deployment: Deployment | None = Field(
        None, description="the pool of workers; default: by the shares of the agent name's traffic"
    )
    room_name: Name | None = Field(None, description="default: a new room")
    participant_identity: Name | None = None
    participant_name: Name | None = None
    mode: Mode = Field(Mode.PIPELINE, description="`hybrid` is the older name of `pipeline`")
    models: Models = Models()
    instructions: Annotated[Text, Field(max_length=16_384)] | None = None
    metadata: Annotated[dict[str, Any] | str, BeforeValidator(_metadata)] = Field(
        default_factory=dict,
        description="the metadata of the agent's job: an object as JSON, a string unchanged, "
        "and nothing if it is empty; at most 32 KiB",
    )
    require: Literal[Level.ACTIVE, Level.READY] = Field(
        Level.ACTIVE, description="what the agent has to prove: that it is in the room, or that it listens"
    )
    canary: bool = Field(False, description="only a test: requires `ready`, and ends when that is proven")


class Timings(BaseModel):
    """When each step was reached; null for a step that was not reached (yet)."""

    requested_at: datetime
    caller_joined_at: datetime | None
    accepted_at: datetime | None
    assigned_at: datetime | None
    active_at: datetime | None
    ready_at: datetime | None
    first_speech_at: datetime | None
    ended_at: datetime | None


class Started(BaseModel):
    """The answer to a start: everything that a caller needs to join at once.

    `agent_identity` is set if the answer has waited for the agent.
    """

    session_id: str
    room_name: str
    server_url: str
    participant_token: str
    participant_identity: str
    status: SessionStatus
    agent_identity: str | None
    timings: Timings


class Failure(BaseModel):
    """Why there is no agent."""

    cause: Cause
    advice: str
    evidence: dict[str, Any]


class Attempt(BaseModel):
    """One dispatch attempt."""

    number: int
    outcome: str | None
    dispatch_id: str | None
    job_id: str | None
    worker_id: str | None
    deployment: str | None = Field(description="the pool of workers; null: the one without a name")
    participant_identity: str | None
    participant_sid: str | None
    cause: Cause | None
    evidence: dict[str, Any] | None
    started_at: datetime
    accepted_at: datetime | None
    assigned_at: datetime | None
    rejected_at: datetime | None
    entrypoint_at: datetime | None = Field(description="when the agent's code began to run")
    connected_at: datetime | None
    active_at: datetime | None
    ready_at: datetime | None
    first_speech_at: datetime | None
    closed_at: datetime | None
    close_reason: str | None = Field(description="how the agent says that it ended")
    error: dict[str, Any] | None = Field(description="what the agent's code raised: its `type` and `message`")
    left_at: datetime | None
    left_reason: str | None = Field(
        description="LiveKit's reason why the agent left; client_initiated means that it left on purpose"
    )

    @classmethod
    def of(cls, row: AttemptRow) -> "Attempt":
        """Return the attempt of a database row."""
        return cls.model_validate(row, from_attributes=True)


class Session(BaseModel):
    """A session. `waiting_for` is why it waits, if it does; `failure` is why it failed.

    `attempts` is set if a single session is read, and so is `place_in_line` while the session waits for a
    worker's free slot. `deadline_at` is when Rollcall gives up looking for an agent; `revivals` counts the
    agents that took over from a lost one. `turns` is the number of stored turns.
    """

    session_id: str
    status: SessionStatus
    room_name: str
    room_sid: str | None
    agent_name: str
    deployment: str | None = Field(description="the pool of workers; null: the one without a name")
    profile_version: int | None = Field(
        description="of the agent's stored profile; null: none was stored, or the caller has not come yet"
    )
    mode: Mode
    models: Models
    metadata: dict[str, Any] | str
    participant_identity: str
    participant_name: str | None
    attempt: int
    max_attempts: int
    require: Level
    canary: bool
    agent_identity: str | None
    agent_sid: str | None
    waiting_for: Cause | None
    place_in_line: int | None = None
    failure: Failure | None
    end_reason: str | None
    deadline_at: datetime
    revivals: int
    trace_id: str | None
    turns: int | None = None
    timings: Timings
    attempts: list[Attempt] | None = None

    @classmethod
    def of(
        cls,
        row: SessionRow,
        attempts: list[AttemptRow] | None = None,
        *,
        place_in_line: int | None = None,
        turns: int | None = None,
    ) -> "Session":
        """Return the session of its database rows."""
        failure = None
        if row.cause is not None:
            cause = Cause(row.cause)
            failure = Failure(cause=cause, advice=ADVICE[cause], evidence=row.evidence or {})
        return cls(
            session_id=row.id,
            status=SessionStatus(row.status),
            room_name=row.room_name,
            room_sid=row.room_sid,
            agent_name=row.agent_name,
            deployment=row.deployment or None,
            profile_version=row.profile_version,
            mode=Mode(row.mode),
            models=Models.model_validate(row.models),
            metadata=row.client_metadata,
            participant_identity=row.participant_identity,
            participant_name=row.participant_name,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            require=Level(row.required_level),
            canary=row.canary,
            agent_identity=row.agent_identity,
            agent_sid=row.agent_sid,
            waiting_for=Cause(row.waiting_for) if row.waiting_for else None,
            place_in_line=place_in_line,
            failure=failure,
            end_reason=row.end_reason,
            deadline_at=row.deadline_at,
            revivals=row.revivals,
            trace_id=trace_id_of(row.traceparent) if row.traceparent else None,
            turns=turns,
            timings=Timings.model_validate(row, from_attributes=True),
            attempts=None if attempts is None else [Attempt.of(attempt) for attempt in attempts],
        )


class SessionPage(BaseModel):
    """Sessions, newest first; `next_cursor` is null on the last page."""

    sessions: list[Session]
    next_cursor: str | None


class SessionHistory(BaseModel):
    """Everything that happened to a session, in order."""

    events: list[Envelope]
