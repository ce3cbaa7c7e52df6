"""Every name that two processes must spell alike: Redis keys, streams, queues, attributes."""

from typing import Final

from shared.contracts.identifiers import SessionId

# Redis streams. An entry has one field, `event`: a CloudEvents envelope in JSON.
EVENTS_STREAM: Final = "rollcall:events"  # session events, published by the outbox relay
REPORTS_STREAM: Final = "rollcall:reports"  # what agent workers say about their jobs
TURNS_STREAM: Final = "rollcall:turns"  # finished turns, on their way to the database
DEAD_LETTERS_STREAM: Final = "rollcall:dead-letters"
ENVELOPE_FIELD: Final = "event"

# Redis pub/sub. A message is a session id: look at its room now; or: it has new events or turns.
HINTS_CHANNEL: Final = "rollcall:hints"
NEWS_CHANNEL: Final = "rollcall:news"


def captions_channel(session_id: str) -> str:
    """A pub/sub channel of one session: `CaptionChanged` envelopes, for whoever follows it now."""
    return f"rollcall:captions:{session_id}"


# Worker registry: a key per worker with a short expiry, and an index of their ids by last beat.
WORKER_INDEX: Final = "rollcall:workers"


def worker_key(worker_id: str) -> str:
    """The registry key of one agent worker; its value is a `WorkerHeartbeat` in JSON."""
    return f"rollcall:worker:{worker_id}"


def order_key(worker_id: str) -> str:
    """The newest order of an operator to one agent worker; a `WorkerOrder`."""
    return f"rollcall:worker-order:{worker_id}"


def fence_key(session_id: SessionId) -> str:
    """The fence of a session: the number of the current attempt, or `FENCE_CLOSED`."""
    return f"rollcall:fence:{session_id}"


FENCE_CLOSED: Final = "closed"


def job_fence_key(session_id: SessionId, attempt: int) -> str:
    """The id of the job that has this attempt, for as long as it beats."""
    return f"rollcall:fence:{session_id}:{attempt}"


# A hash of the jobs that run: `job_beat_field` to a count that grows while the job's event loop turns.
JOB_BEATS: Final = "rollcall:job-beats"


def job_beat_field(session_id: str, attempt: int) -> str:
    """The field of one attempt's job among the job beats."""
    return f"{session_id}:{attempt}"


def slots_key(agent_name: str) -> str:
    """A sorted set of the sessions that have been promised a slot of this agent name's workers."""
    return f"rollcall:slots:{agent_name}"


def history_key(session_id: str) -> str:
    """The conversation so far, for the agent that takes it over; a list of `PastTurn` in JSON."""
    return f"rollcall:history:{session_id}"


def erased_key(session_id: str) -> str:
    """Set for as long as somebody may still hold text of a session whose transcript was erased."""
    return f"rollcall:erased:{session_id}"


def stored_key(session_id: str, writer: str) -> str:
    """A bitmap of the turns of one writer (a job) that the database has: bit n is the turn with `seq` n."""
    return f"rollcall:stored:{session_id}:{writer}"


def visitor_key(key_id: str, network: str) -> str:
    """A sorted set of the reservations of one visitor of a page, by when each expires."""
    return f"rollcall:visitor:{key_id}:{network}"


# Counters of requests, by key, project and visitor: written by the library `limits`.
LIMIT_PREFIX: Final = "rollcall:limit"


# Celery queues and tasks.
DISPATCH_QUEUE: Final = "rollcall.dispatch"
VERIFY_QUEUE: Final = "rollcall.verify"
HOUSEKEEPING_QUEUE: Final = "rollcall.housekeeping"
DISPATCH_TASK: Final = "rollcall.dispatch_session"
VERIFY_TASK: Final = "rollcall.verify_session"
CLOSE_TASK: Final = "rollcall.close_session"

# Attributes that bind a LiveKit dispatch, and the agent's participant, to one attempt of a session.
SESSION_ATTRIBUTE: Final = "rollcall.session"
ATTEMPT_ATTRIBUTE: Final = "rollcall.attempt"
ORDER_ATTRIBUTE: Final = "rollcall.order"  # of the dispatch alone: the room is not shown it
METADATA_KEY: Final = "rollcall"  # where dispatchers before 2026-12 put the order, in the metadata

# Attributes that LiveKit and its SDK set themselves.
LIVEKIT_AGENT_NAME_ATTRIBUTE: Final = "lk.agent_name"  # stamped by the server; a worker can't fake it
LIVEKIT_AGENT_STATE_ATTRIBUTE: Final = "lk.agent.state"
LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE: Final = "lk.publish_on_behalf"  # an avatar, not the agent
