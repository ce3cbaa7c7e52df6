"""What the verifier counts."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from shared.contracts.causes import Cause
from shared.contracts.sessions import Level

_LEVEL_SECONDS = Histogram(
    "session_level_seconds",
    "From the request until a level of proof is reached by the session's first agent.",
    ["level"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30),
)
_FAILURES = Counter("session_join_failures_total", "Sessions without an agent.", ["cause"])
_ABANDONED = Counter("session_abandoned_total", "Sessions whose caller left before the agent came.")
_MISSED = Counter("session_redispatch_total", "Attempts without an agent, tried again.", ["cause"])
_LOST = Counter("session_agents_lost_total", "Agents lost from active sessions.", ["outcome"])
_EXTRA = Counter("session_duplicate_agents_total", "Extra agents removed from rooms.")
_COLLECTED = Counter("session_rooms_collected_total", "Rooms found after their session had ended.")
_IN_FLIGHT = Gauge("session_verifications_in_flight", "Sessions whose agent is being waited for.")
_REPORTS = Counter("agent_reports_total", "Reports of agent workers.", ["step"])
_DEAD_LETTERS = Counter("agent_reports_dead_lettered_total", "Reports set aside.", ["reason"])
_WAITING = Gauge("sessions_waiting", "Sessions that wait in line, by what they wait for.", ["cause"])
_ADMITTED = Counter("sessions_admitted_total", "Sessions let go on from the line.", ["cause"])
_RESERVATIONS = Counter(
    "session_reservations_total", "Reservations that were looked at, by what became of them.", ["outcome"]
)
_SWEPT = Counter("sweep_enqueued_total", "Sessions that the sweep put back on a queue.", ["task"])


def level_reached(level: Level, seconds: float) -> None:
    """The session's first agent has reached a level, `seconds` after the request."""
    _LEVEL_SECONDS.labels(level).observe(seconds)


def session_abandoned() -> None:
    """The caller left before the agent came."""
    _ABANDONED.inc()


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


def rooms_collected(number: int) -> None:
    """Rooms were there whose session is over."""
    _COLLECTED.inc(number)


def reservation_over(outcome: str) -> None:
    """A reservation `expired`, or was `used` and no webhook had said so."""
    _RESERVATIONS.labels(outcome).inc()


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


def sessions_waiting(numbers: Mapping[Cause, int]) -> None:
    """So many sessions wait in line; told by the process that moves it on."""
    _WAITING.clear()
    for cause, number in numbers.items():
        _WAITING.labels(cause).set(number)


def sessions_admitted(cause: Cause, number: int) -> None:
    """What they waited for is there."""
    _ADMITTED.labels(cause).inc(number)
