"""The causes of a missing agent, a closed list, and what the operator can do about each."""

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """Why a session has no agent. Metrics use it as a label, so the list stays closed and short."""

    NO_WORKER_REGISTERED = "no_worker_registered"
    AGENT_NAME_MISMATCH = "agent_name_mismatch"
    WORKERS_AT_CAPACITY = "workers_at_capacity"
    WORKER_DRAINING = "worker_draining"
    WORKER_REJECTED = "worker_rejected"
    ASSIGNMENT_TIMEOUT = "assignment_timeout"
    JOB_NOT_STARTED = "job_not_started"
    WORKER_DIED = "worker_died"
    ENTRYPOINT_FAILED = "entrypoint_failed"
    MODEL_MISCONFIGURED = "model_misconfigured"
    NEVER_CONNECTED = "never_connected"
    AGENT_LEFT = "agent_left"
    ROOM_CLOSED = "room_closed"
    CALLER_LEFT = "caller_left"
    LIVEKIT_UNREACHABLE = "livekit_unreachable"
    LIVEKIT_AUTH = "livekit_auth"
    INFERENCE_UNAVAILABLE = "inference_unavailable"
    INFERENCE_QUOTA = "inference_quota"
    QUEUE_STALLED = "queue_stalled"
    TOO_MANY_SESSIONS = "too_many_sessions"
    UNKNOWN = "unknown"


ADVICE: Final[dict[Cause, str]] = {
    Cause.NO_WORKER_REGISTERED: (
        "Start an agent worker for this agent name and check that its log says 'registered'. If one that "
        "doesn't report to Rollcall is registered, it was full (by default of CPU load), it refused, or it "
        "hung."
    ),
    Cause.AGENT_NAME_MISMATCH: (
        "Make LIVEKIT_AGENT_NAME the same, letter for letter, in the API and in the worker."
    ),
    Cause.WORKERS_AT_CAPACITY: "Start more agent workers, or raise AGENT_MAX_JOBS.",
    Cause.WORKER_DRAINING: (
        "Wait for the new workers of the rollout, start one more, or uncordon one (`rollcall workers`)."
    ),
    Cause.WORKER_REJECTED: "Read the worker's log for why its on_request turned the job down.",
    Cause.ASSIGNMENT_TIMEOUT: (
        "A worker did not answer LiveKit in time: look for a blocked event loop or a starved host."
    ),
    Cause.JOB_NOT_STARTED: (
        "A worker took the job, but its process did not start in time: look for a starved host and for slow "
        "imports, and raise AGENT_IDLE_PROCESSES."
    ),
    Cause.WORKER_DIED: (
        "The agent's process or its connection ended without a goodbye: look for an out-of-memory kill, "
        "a crash of the worker's host, or a network that was cut."
    ),
    Cause.ENTRYPOINT_FAILED: "Read the exception in the evidence and in the worker's log.",
    Cause.MODEL_MISCONFIGURED: (
        "Correct the model descriptor that the evidence names; GET /v1/workers lists those in use."
    ),
    Cause.NEVER_CONNECTED: (
        "A worker took the job, but its agent did not get into the room. If the evidence says that the agent "
        "was never listed, read the worker's log for an exception before it connects. If it was listed, "
        "check UDP, ICE and TURN."
    ),
    Cause.AGENT_LEFT: (
        "Read the worker's log for this job: the agent left too early. The evidence says how, if LiveKit "
        "reported it."
    ),
    Cause.ROOM_CLOSED: "Somebody closed the room: check for DeleteRoom calls and room timeouts.",
    Cause.CALLER_LEFT: "Nothing to do: the caller hung up first.",
    Cause.LIVEKIT_UNREACHABLE: "Check LIVEKIT_URL and that the LiveKit server is up.",
    Cause.LIVEKIT_AUTH: "Check LIVEKIT_API_KEY, LIVEKIT_API_SECRET and this host's clock.",
    Cause.INFERENCE_UNAVAILABLE: "Check LIVEKIT_INFERENCE_URL and the inference service.",
    Cause.INFERENCE_QUOTA: "Raise the inference quota or lower the number of concurrent sessions.",
    Cause.QUEUE_STALLED: "Check the broker (BROKER_URL, or Redis), and that Celery workers take from the "
    "dispatch and verify queues.",
    Cause.TOO_MANY_SESSIONS: (
        "The key, or its project, had reached its limit of sessions when the caller of this reservation "
        "joined. End sessions that you no longer need, or raise MAX_SESSIONS_KEY or MAX_SESSIONS_PROJECT."
    ),
    Cause.UNKNOWN: "Read the session's events and the worker's log; please report what you find.",
}
