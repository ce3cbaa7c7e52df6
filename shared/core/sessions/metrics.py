"""The metrics of sessions in every process: how many want an agent, how many get one, and how they end.

The process that makes a change counts it, after the commit. So each session counts once, whichever process
makes the change.
"""

from typing import Final

from prometheus_client import Counter, Histogram

from shared.contracts.causes import Cause
from shared.contracts.sessions import TERMINAL, Level, SessionStatus
from shared.contracts.traceparent import is_sampled
from shared.core.sessions.tables import SessionRow
from shared.platform.agent_names import agent_label, agent_name_proven
from shared.platform.tracing.tracing import trace_fields

JOINED: Final = "joined"
FAILED: Final = "failed"
_CANARY: Final = {False: "false", True: "true"}

_REQUESTS = Counter(
    "session_requests_total", "Sessions for which an agent is wanted.", ["agent_name", "canary"]
)
_JOINS = Counter(
    "session_joins_total",
    "Sessions by whether they got their first agent (joined, failed); those that were cancelled are neither.",
    ["result", "agent_name", "canary"],
)
_POOL_JOINS = Counter(
    "session_pool_joins_total",
    "Sessions of a pool, by whether they got their first agent (joined, failed).",
    ["result", "agent_name", "deployment"],
)
_ENDS = Counter("session_ends_total", "Sessions that are over, by how they ended.", ["status", "agent_name"])
_FAILURES = Counter(
    "session_failures_total",
    "Failed sessions, by cause; including those that lost their agent and got no other.",
    ["cause", "agent_name"],
)
_LEVEL_SECONDS = Histogram(
    "session_level_seconds",
    "Time from the request until the session's first agent reaches a level of proof.",
    ["level", "agent_name"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30),
)

_seen: set[str] = set()


def agent_name_seen(agent_name: str) -> None:
    """Begin this name's counts at 0, so that its first failure is seen as a rise."""
    label = agent_label(agent_name)
    if label in _seen:
        return
    _seen.add(label)
    for result in (JOINED, FAILED):
        for canary in _CANARY.values():
            _JOINS.labels(result, label, canary)
    for status in TERMINAL:
        _ENDS.labels(status, label)
    for cause in Cause:
        _FAILURES.labels(cause, label)
    for level in Level:
        _LEVEL_SECONDS.labels(level, label)


def session_requested(row: SessionRow) -> None:
    """Count a session that now wants an agent."""
    _REQUESTS.labels(agent_label(row.agent_name), _CANARY[row.canary]).inc()


def session_moved(row: SessionRow, *, before: str) -> None:
    """Count a session whose status changed from `before`."""
    if row.active_at is not None:
        agent_name_proven(row.agent_name)
    name, canary = agent_label(row.agent_name), _CANARY[row.canary]
    if row.status == SessionStatus.REQUESTED:
        session_requested(row)
    elif row.status == SessionStatus.ACTIVE and row.revivals == 0:
        _JOINS.labels(JOINED, name, canary).inc()
        _POOL_JOINS.labels(JOINED, name, row.pool).inc()
    elif row.status == SessionStatus.FAILED:
        _FAILURES.labels(Cause(row.cause or Cause.UNKNOWN), name).inc()
        if before != SessionStatus.ACTIVE and row.revivals == 0:
            _JOINS.labels(FAILED, name, canary).inc()
            _POOL_JOINS.labels(FAILED, name, row.pool).inc()
    if row.status in TERMINAL:
        _ENDS.labels(row.status, name).inc()


def level_reached(row: SessionRow, level: Level, seconds: float) -> None:
    """Observe that the session's first agent reached a level, `seconds` after the request.

    Each bucket has one session's trace as its exemplar, if the scraper accepts exemplars.
    """
    exemplar = trace_fields(row.traceparent) if is_sampled(row.traceparent) else None
    _LEVEL_SECONDS.labels(level, agent_label(row.agent_name)).observe(seconds, exemplar)
