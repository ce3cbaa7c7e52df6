"""What the verifier counts."""

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
_IN_FLIGHT = Gauge("session_verifications_in_flight", "Sessions whose agent is being waited for.")
_OLDEST = Gauge(
    "session_verification_oldest_seconds", "For how long the one that has waited longest has been waited for."
)
_REPORTS = Counter("agent_reports_total", "Reports of agent workers.", ["step"])
_DEAD_LETTERS = Counter("agent_reports_dead_lettered_total", "Reports set aside.", ["reason"])
_WAITING = Gauge("sessions_waiting", "Sessions that wait in line, by what they wait for.", ["cause"])
_ADMITTED = Counter("sessions_admitted_total", "Sessions let go on from the line.", ["cause"])
_RESERVATIONS = Counter(
    "session_reservations_total", "Reservations that were looked at, by what became of them.", ["outcome"]
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
    """The caller left before the agent came."""
    _ABANDONED.inc()


def caller_never_came() -> None:
    """The agent waited, and nobody came."""
    _NEVER_CAME.inc()


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
    """A reservation `expired`, or was `used` or `refused` and no webhook had said so."""
    _RESERVATIONS.labels(outcome).inc()


def verifications_in_flight(number: int) -> None:
    """So many sessions are waited for in this process."""
    _IN_FLIGHT.set(number)


def oldest_verification_told_by(oldest_s: Callable[[], float]) -> None:
    """Ask `oldest_s` at each scrape for how long the longest wait lasts."""
    _OLDEST.set_function(oldest_s)


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
