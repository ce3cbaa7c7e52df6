"""What the verifier counts."""

from prometheus_client import Counter, Gauge, Histogram

from shared.contracts.causes import Cause

_JOINS = Counter("session_joins_total", "Agents proven to be in their room.")
_JOIN_SECONDS = Histogram(
    "session_join_seconds",
    "From the request until the agent is ACTIVE.",
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30),
)
_FAILURES = Counter("session_join_failures_total", "Sessions without an agent.", ["cause"])
_MISSED = Counter("session_redispatch_total", "Attempts without an agent, tried again.", ["cause"])
_LOST = Counter("session_agents_lost_total", "Agents lost from active sessions.", ["outcome"])
_EXTRA = Counter("session_duplicate_agents_total", "Extra agents removed from rooms.")
_IN_FLIGHT = Gauge("session_verifications_in_flight", "Sessions whose agent is being waited for.")
_REPORTS = Counter("agent_reports_total", "Reports of agent workers.", ["step"])
_DEAD_LETTERS = Counter("agent_reports_dead_lettered_total", "Reports set aside.", ["reason"])
_SWEPT = Counter("sweep_enqueued_total", "Sessions that the sweep put back on a queue.", ["task"])


def agent_joined(seconds: float) -> None:
    """The agent is in the room, `seconds` after the request."""
    _JOINS.inc()
    _JOIN_SECONDS.observe(seconds)


def session_failed(cause: Cause) -> None:
    """The session was given up."""
    _FAILURES.labels(cause).inc()


def agent_missing(cause: Cause) -> None:
    """The attempt brought no agent; another follows."""
    _MISSED.labels(cause).inc()


def agent_lost(outcome: str) -> None:
    """An active session lost its agent: `revived` or `given_up`."""
    _LOST.labels(outcome).inc()


def extra_agent_removed() -> None:
    """An agent that should not be there was removed."""
    _EXTRA.inc()


def verifications_in_flight(number: int) -> None:
    """So many sessions are waited for in this process."""
    _IN_FLIGHT.set(number)


def report_received(step: str) -> None:
    """An agent worker reported a step."""
    _REPORTS.labels(step).inc()


def report_dead_lettered(reason: str) -> None:
    """A report could not be used."""
    _DEAD_LETTERS.labels(reason).inc()


def session_swept(task: str, number: int) -> None:
    """The sweep enqueued tasks that should have been there already."""
    _SWEPT.labels(task).inc(number)
