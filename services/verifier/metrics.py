"""The metrics of the verifier."""

from collections.abc import Callable, Mapping

from prometheus_client import Counter, Gauge

from shared.contracts.causes import Cause
from shared.contracts.events import Step
from shared.platform.celery.tasks import TASK_QUEUES

_ABANDONED = Counter("session_abandoned_total", "Sessions whose caller left before the agent came.")
_NEVER_CAME = Counter("session_caller_never_came_total", "Sessions whose agent waited, and no caller came.")
_MISSED = Counter("session_redispatch_total", "Attempts without an agent, tried again.", ["cause"])
_LOST = Counter("session_agents_lost_total", "Agents lost from active sessions.", ["outcome"])
_EXTRA = Counter("session_duplicate_agents_total", "Extra agents removed from rooms.")
_COLLECTED = Counter("session_rooms_collected_total", "Rooms found after their session had ended.")
_IN_FLIGHT = Gauge("session_verifications_in_flight", "Sessions that wait for their agent.")
_OLDEST = Gauge("session_verification_oldest_seconds", "How long the longest of these has waited.")
_REPORTS = Counter("agent_reports_total", "Reports of agent workers.", ["step"])
_DEAD_LETTERS = Counter("agent_reports_dead_lettered_total", "Reports set aside.", ["reason"])
_WAITING = Gauge("sessions_waiting", "Waiting sessions, by what they wait for.", ["cause"])
_ADMITTED = Counter("sessions_admitted_total", "Sessions that stopped waiting and went on.", ["cause"])
_RESERVATIONS = Counter(
    "session_reservations_total",
    "Reservations that the verifier ended or requested, by outcome.",
    ["outcome"],
)
_SWEPT = Counter("sweep_enqueued_total", "Sessions that the sweep put back on a queue.", ["task"])


def _begin_at_zero() -> None:
    for cause in Cause:
        _MISSED.labels(cause)
        _ADMITTED.labels(cause)
    for outcome in ("revived", "given_up"):
        _LOST.labels(outcome)
    for step in Step:
        _REPORTS.labels(step)
    for task in TASK_QUEUES:
        _SWEPT.labels(task)
    for reason in ("malformed", "unexpected_type", "refused"):
        _DEAD_LETTERS.labels(reason)


_begin_at_zero()


def session_abandoned() -> None:
    """Count a session whose caller left before the agent came."""
    _ABANDONED.inc()


def caller_never_came() -> None:
    """Count a session whose caller never came."""
    _NEVER_CAME.inc()


def agent_missing(cause: Cause) -> None:
    """Count an attempt without an agent; another follows."""
    _MISSED.labels(cause).inc()


def agent_lost(outcome: str) -> None:
    """Count an agent lost from an active session: `revived` or `given_up`."""
    _LOST.labels(outcome).inc()


def extra_agent_removed() -> None:
    """Count an extra agent that was removed."""
    _EXTRA.inc()


def rooms_collected(number: int) -> None:
    """Count rooms that outlived their session."""
    _COLLECTED.inc(number)


def reservation_over(outcome: str) -> None:
    """Count a reservation that `expired`, or that was `used` or `refused` without a webhook."""
    _RESERVATIONS.labels(outcome).inc()


def verifications_in_flight(number: int) -> None:
    """Set how many sessions wait for their agent in this process."""
    _IN_FLIGHT.set(number)


def oldest_verification_told_by(oldest_s: Callable[[], float]) -> None:
    """Call `oldest_s` at each scrape for the duration of the longest wait."""
    _OLDEST.set_function(oldest_s)


def report_received(step: str) -> None:
    """Count a step that an agent worker reported."""
    _REPORTS.labels(step).inc()


def report_dead_lettered(reason: str) -> None:
    """Count a report that could not be used."""
    _DEAD_LETTERS.labels(reason).inc()


def session_swept(task: str, number: int) -> None:
    """Count sessions that the sweep enqueued."""
    _SWEPT.labels(task).inc(number)


def sessions_waiting(numbers: Mapping[Cause, int]) -> None:
    """Set how many sessions wait; only the process that lets them go on shows it."""
    _WAITING.clear()
    for cause, number in numbers.items():
        _WAITING.labels(cause).set(number)


def sessions_admitted(cause: Cause, number: int) -> None:
    """Count sessions that stopped waiting and went on."""
    _ADMITTED.labels(cause).inc(number)
