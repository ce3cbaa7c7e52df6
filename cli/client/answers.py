"""The API's answers, as `Client` returns them. Unknown fields are kept unchanged."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.contracts.models import Models
from shared.contracts.sessions import TERMINAL, Level, SessionStatus
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Timings(Answer):
    """When each step was reached; None for a step that was not reached (yet)."""

    requested_at: datetime | None = None
    caller_joined_at: datetime | None = None
    accepted_at: datetime | None = None
    assigned_at: datetime | None = None
    active_at: datetime | None = None
    ready_at: datetime | None = None
    first_speech_at: datetime | None = None
    ended_at: datetime | None = None


class StartedSession(Answer):
    """A session that was started, and what a caller needs to join its room.

    `agent_identity` is set if the answer has waited for the agent.
    """

    session_id: str
    room_name: str
    server_url: str
    participant_token: str
    participant_identity: str | None = None
    status: SessionStatus
    agent_identity: str | None = None
    timings: Timings = Timings()


class Failure(Answer):
    """Why there is no agent, and what to do about it."""

    cause: str
    advice: str
    evidence: dict[str, Any] = {}


class Attempt(Answer):
    """One dispatch attempt."""

    number: int
    outcome: str | None = None
    dispatch_id: str | None = None
    job_id: str | None = None
    worker_id: str | None = None
    deployment: str | None = None
    participant_identity: str | None = None
    cause: str | None = None
    evidence: dict[str, Any] | None = None
    started_at: datetime
    accepted_at: datetime | None = None
    assigned_at: datetime | None = None
    active_at: datetime | None = None
    close_reason: str | None = None
    error: dict[str, Any] | None = None


class Session(Answer):
    """A session. `waiting_for` is why it waits, if it does; `failure` is why it failed."""

    session_id: str
    status: SessionStatus
    room_name: str
    agent_name: str
    deployment: str | None = None
    mode: str = "pipeline"
    models: Models = Models()
    metadata: dict[str, Any] | str = {}
    participant_identity: str | None = None
    attempt: int = 0
    max_attempts: int = 0
    canary: bool = False
    agent_identity: str | None = None
    waiting_for: str | None = None
    place_in_line: int | None = None
    failure: Failure | None = None
    end_reason: str | None = None
    turns: int | None = None
    timings: Timings = Timings()
    attempts: list[Attempt] | None = None

    @property
    def over(self) -> bool:
        """Whether the session has ended for good."""
        return self.status in TERMINAL

    @property
    def levels_ms(self) -> dict[str, int]:
        """Return the levels of proof that were reached, each with its milliseconds since the request."""
        requested = self.timings.requested_at
        reached = {level: getattr(self.timings, f"{level}_at") for level in Level}
        return {
            level.value: round((at - requested).total_seconds() * 1000)
            for level, at in reached.items()
            if at is not None and requested is not None
        }


class SessionPage(Answer):
    """Sessions, newest first; `next_cursor` is None on the last page."""

    sessions: list[Session]
    next_cursor: str | None = None


class Workers(Answer):
    """The live agent workers, and the last heartbeats of those that fell silent without a goodbye."""

    workers: list[WorkerHeartbeat]
    lost: list[WorkerHeartbeat] = []


class WorkerOrdered(Answer):
    """An order to a worker, and how the worker stood at its last heartbeat."""

    worker_id: str
    order: WorkerOrder
    cordoned: bool
    draining: bool
    active_jobs: int


class Turn(Answer):
    """One finished turn, as stored."""

    seq: int
    id: str = ""
    role: str
    text: str
    created_at: datetime
    ended_at: datetime | None = None
    kind: str = "message"
    interrupted: bool = False


class Transcript(Answer):
    """The conversation so far; `complete` is None while the number of turns is unknown."""

    session_id: str
    status: SessionStatus
    complete: bool | None = None
    missing: list[int] = []
    items: list[Turn] = []
    next_after_seq: int | None = None


class Caption(Answer):
    """The words so far of something that is being said; the finished turn replaces them."""

    segment_id: str = ""
    role: str
    text: str
    final: bool = False
