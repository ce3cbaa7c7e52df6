"""What an agent worker reports about its job: the events of the reports stream."""

from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict, Field

from shared.contracts.causes import Cause
from shared.contracts.events.base import Event
from shared.contracts.identifiers import SessionId
from shared.contracts.text import Brief, CleanModel, Id


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
