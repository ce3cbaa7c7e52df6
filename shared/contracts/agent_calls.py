"""What agent workers and their jobs ask of Rollcall over its API: the frames of a WebSocket, in JSON.

The client sends a `Request`: a number, and a call. The API answers each with an `Answer` of the same number,
in the order of the requests. The bearer of the handshake is the worker's API key or token, or the credential
of one attempt, which comes with its dispatch (`DispatchOrder.credential`). A worker presents the credentials
of the attempts that it speaks of (`Present`).
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from shared.contracts.events import Envelope
from shared.contracts.identifiers import SessionId
from shared.contracts.text import MAX_EVENT_BYTES, Brief, CleanModel, Id
from shared.contracts.workers import WorkerHeartbeat

WORKER_PATH: Final = "/v1/agent/worker"
JOB_PATH: Final = "/v1/agent/job"
# A frame has room for the longest event, with the call around it.
MAX_FRAME_BYTES: Final = MAX_EVENT_BYTES + 64 * 1024
MAX_ENVELOPES: Final = 100


class Call(CleanModel):
    """Base of all calls."""

    model_config = ConfigDict(frozen=True)


class OfAttempt(Call):
    """Base of the calls about one attempt. The client holds its credential."""

    session_id: SessionId
    attempt: int


class Present(Call):
    """Show the credential of an attempt, so that further calls may be about it. A worker's call."""

    call: Literal["present"] = "present"
    credential: str


class Publish(OfAttempt):
    """Append events of this attempt, in order, to the stream of reports or of turns."""

    call: Literal["publish"] = "publish"
    stream: Literal["reports", "turns"]
    envelopes: list[Envelope] = Field(max_length=MAX_ENVELOPES)


class Show(OfAttempt):
    """Send captions of this attempt to those who follow its session now."""

    call: Literal["show"] = "show"
    captions: list[Envelope] = Field(max_length=MAX_ENVELOPES)


class ReadFence(OfAttempt):
    """Answered with the session's fence: its current attempt, `FENCE_CLOSED`, or null."""

    call: Literal["read_fence"] = "read_fence"


class TakeAttempt(OfAttempt):
    """Take the attempt for a job, or keep it. Answered with false if another job has it."""

    call: Literal["take_attempt"] = "take_attempt"
    job_id: Id


class BeatJob(OfAttempt):
    """Tell that the job's event loop turns, and keep the attempt for the job. `count` grows."""

    call: Literal["beat_job"] = "beat_job"
    job_id: Id
    count: int


class ForgetJob(OfAttempt):
    """Tell that the job beats no more, because it is over."""

    call: Literal["forget_job"] = "forget_job"


class ReadHistory(OfAttempt):
    """Answered with the conversation so far, as a list of `PastTurn`s in the order of speech, or null."""

    call: Literal["read_history"] = "read_history"


class ReadStored(OfAttempt):
    """Answered with the bitmap of the job's stored turns, in base64 (`shared.core.transcripts.watermark`)."""

    call: Literal["read_stored"] = "read_stored"
    job_id: Id | None


class IsErased(OfAttempt):
    """Answered with whether the session's text must not be sent."""

    call: Literal["is_erased"] = "is_erased"


class BeatWorker(Call):
    """Tell how the worker stands. Answered with the newest order to it, or null. A worker's call."""

    call: Literal["beat_worker"] = "beat_worker"
    heartbeat: WorkerHeartbeat


class ReadOrder(Call):
    """Answered with the newest order to a former id of this worker, or null. A worker's call."""

    call: Literal["read_order"] = "read_order"
    worker_id: Id


class RemoveWorker(Call):
    """Take a worker out of the registry, which beat under this id over the same key. A worker's call."""

    call: Literal["remove_worker"] = "remove_worker"
    worker_id: Id


AnyCall = Annotated[
    Present
    | Publish
    | Show
    | ReadFence
    | TakeAttempt
    | BeatJob
    | ForgetJob
    | ReadHistory
    | ReadStored
    | IsErased
    | BeatWorker
    | ReadOrder
    | RemoveWorker,
    Field(discriminator="call"),
]


class Request(CleanModel):
    """One call. `id` numbers the requests of a connection."""

    model_config = ConfigDict(frozen=True)

    id: int
    call: AnyCall


class RefusalCode(StrEnum):
    """Why a call was not done."""

    MALFORMED = "malformed"  # the frame is not a request
    NOT_YOURS = "not_yours"  # it is about an attempt or a worker that the client has not proved to be its own
    OVER = "over"  # the attempt has been replaced, or its session has ended
    UNAVAILABLE = "unavailable"  # Rollcall can't do it now: ask again


class CallRefusal(CleanModel):
    """Why a call was not done, as a code and in words."""

    model_config = ConfigDict(frozen=True)

    code: RefusalCode
    detail: Brief


class Answer(CleanModel):
    """The answer to one request: its result, or why there is none."""

    model_config = ConfigDict(frozen=True)

    id: int
    result: Any = None
    refusal: CallRefusal | None = None
