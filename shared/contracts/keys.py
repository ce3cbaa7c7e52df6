"""Every name that two processes must spell in the same way: Redis keys, streams, queues, attributes."""

from typing import Final

from shared.contracts.identifiers import SessionId

# Redis streams. An entry has one field, `event`: a CloudEvents envelope in JSON.
EVENTS_STREAM: Final = "rollcall:events"  # session events, published by the outbox relay
REPORTS_STREAM: Final = "rollcall:reports"  # what agent workers say about their jobs
TURNS_STREAM: Final = "rollcall:turns"  # finished turns, on their way to the database
DEAD_LETTERS_STREAM: Final = "rollcall:dead-letters"
ENVELOPE_FIELD: Final = "event"
AGENT_SOURCE: Final = "rollcall/agent"  # the source of all events of agent workers and their jobs

# Redis pub/sub. A message is a session id. On one channel it means "look at its room now", on the other "it
# has new events or turns".
HINTS_CHANNEL: Final = "rollcall:hints"
NEWS_CHANNEL: Final = "rollcall:news"


def captions_channel(session_id: str) -> str:
    """Return the pub/sub channel with one session's `CaptionChanged` envelopes, for its current followers."""
    return f"rollcall:captions:{session_id}"


# Worker registry: a key for each worker with a short expiry, another one that outlives it, and an index of
# worker ids by last heartbeat.
WORKER_INDEX: Final = "rollcall:workers"


def worker_key(worker_id: str) -> str:
    """Return the registry key of one agent worker; its value is a `WorkerHeartbeat` in JSON."""
    return f"rollcall:worker:{worker_id}"


def last_beat_key(worker_id: str) -> str:
    """The newest heartbeat of one agent worker, kept as long as LiveKit may list a worker that vanished."""
    return f"rollcall:worker-last:{worker_id}"


def worker_owner_key(worker_id: str) -> str:
    """Return the key that says whose worker this is, of those that reach Rollcall over the API."""
    return f"rollcall:worker-owner:{worker_id}"


def order_key(worker_id: str) -> str:
    """The newest order of an operator to one agent worker; a `WorkerOrder`."""
    return f"rollcall:worker-order:{worker_id}"


def fence_key(session_id: SessionId) -> str:
    """Return the key of a session's fence: the number of its current attempt, or `FENCE_CLOSED`."""
    return f"rollcall:fence:{session_id}"


FENCE_CLOSED: Final = "closed"


def job_fence_key(session_id: SessionId, attempt: int) -> str:
    """Return the key that holds the id of this attempt's job, as long as the job beats."""
    return f"rollcall:fence:{session_id}:{attempt}"


# A hash of the running jobs: `job_beat_field` to a count that grows while the job's event loop runs.
JOB_BEATS: Final = "rollcall:job-beats"
# Of the jobs among them whose beats come over the API: `job_beat_field` to the id of the job's worker.
JOB_WORKERS: Final = "rollcall:job-workers"
# A hash of the workers that reach Rollcall over the API: worker id to its connection and its count of beats.
WORKER_WAYS: Final = "rollcall:worker-ways"


def job_beat_field(session_id: str, attempt: int) -> str:
    """Return the field of one attempt's job in the hash of job beats."""
    return f"{session_id}:{attempt}"


def line_name(agent_name: str, pool: str) -> str:
    """One name for a pool of an agent name; neither holds a control character."""
    return f"{agent_name}\n{pool}" if pool else agent_name


def slots_key(agent_name: str) -> str:
    """Return the key of a sorted set: the sessions that are promised a slot of this agent name's workers."""
    return f"rollcall:slots:{agent_name}"


def slot_workers_key(agent_name: str) -> str:
    """A hash of the same sessions to the worker whose slot it is, where one was chosen."""
    return f"rollcall:slot-workers:{agent_name}"


def worker_silent_key(worker_id: str) -> str:
    """Return the key that exists for a moment after a worker did not answer a dispatch."""
    return f"rollcall:worker-silent:{worker_id}"


def worker_record_key(worker_id: str) -> str:
    """Return the key of a list: what came of the worker's newest dispatches, the newest first."""
    return f"rollcall:worker-record:{worker_id}"


def worker_answers_key(worker_id: str) -> str:
    """Return the key of a list: how long the worker's newest answers to dispatches took, in ms."""
    return f"rollcall:worker-answers:{worker_id}"


# Sorted sets: the addressed dispatches that no worker has answered yet, by their times; and the workers that
# answered, by the time of the newest dispatch that they answered.
UNANSWERED: Final = "rollcall:unanswered"
ANSWERED: Final = "rollcall:answered"

# What is known of whether LiveKit delivers addressed dispatches: set while one arrived lately; the workers
# whose last one went in vain; how many of these then took one by name.
PLACEMENT_PROVEN: Final = "rollcall:placement-proven"
PLACEMENT_LOST: Final = "rollcall:placement-lost"
PLACEMENT_BY_NAME: Final = "rollcall:placement-by-name"


def circuit_key(of: str) -> str:
    """Return the key of a circuit that is not closed, in JSON: sessions are kept from what failed."""
    return f"rollcall:circuit:{of}"


def circuit_pause_key(of: str) -> str:
    """Return a key that exists while no further session tries it."""
    return f"rollcall:circuit-pause:{of}"


def history_key(session_id: str) -> str:
    """Return the key of the conversation so far, for the agent that takes over: `PastTurn`s in JSON."""
    return f"rollcall:history:{session_id}"


def erased_key(session_id: str) -> str:
    """Return a key that is set while a process may still hold text of a session that was erased."""
    return f"rollcall:erased:{session_id}"


def stored_key(session_id: str, writer: str) -> str:
    """Return the key of a bitmap: which turns of one writer (a job) the database has.

    Bit n is the turn with `seq` n.
    """
    return f"rollcall:stored:{session_id}:{writer}"


def visitor_key(key_id: str, network: str) -> str:
    """Return the key of a sorted set: a visitor's reservations, by the time when each expires."""
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
ORDER_ATTRIBUTE: Final = "rollcall.order"  # only on the dispatch; the room does not see it
METADATA_KEY: Final = "rollcall"  # where dispatchers before 2026-12 put the order, in the metadata

# Attributes that LiveKit and its SDK set themselves.
LIVEKIT_AGENT_NAME_ATTRIBUTE: Final = "lk.agent_name"  # set by the server; a worker can't forge it
LIVEKIT_AGENT_STATE_ATTRIBUTE: Final = "lk.agent.state"
LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE: Final = "lk.publish_on_behalf"  # an avatar, not the agent
