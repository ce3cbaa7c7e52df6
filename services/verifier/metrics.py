"""The metrics of the verifier."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from shared.contracts.causes import Cause
from shared.contracts.events import Step
from shared.core.pools.tables import TrafficRow
from shared.platform.agent_names import agent_label
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
_POOL_WAITING = Gauge(
    "sessions_waiting_in_pool",
    "Waiting sessions, by pool and what they wait for.",
    ["agent_name", "deployment", "cause"],
)
_SHARE = Gauge(
    "fleet_pool_share_ratio",
    "Each pool's share of the sessions that name no pool.",
    ["agent_name", "deployment"],
)
_TAKEN_BACK = Gauge(
    "fleet_pool_taken_back_ratio",
    "The share that a failing pool had, from when it was taken back until an operator sets the shares again.",
    ["agent_name", "deployment"],
)
_ADMITTED = Counter("sessions_admitted_total", "Sessions that stopped waiting and went on.", ["cause"])
_RESERVATIONS = Counter(
    "session_reservations_total",
    "Reservations that the verifier ended or requested, by outcome.",
    ["outcome"],
)
_LEFT_OUT = Counter("fleet_workers_left_out_total", "Workers that new sessions were kept from for a while.")
_ANSWERED = Histogram(
    "dispatch_answer_seconds",
    "Seconds from LiveKit's acceptance of an addressed dispatch until its worker's answer is known.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
)
_LATE = Counter(
    "dispatch_answers_late_total", "Answers of workers to addressed dispatches that had been given up."
)
_ENDED_EARLY = Counter(
    "dispatch_ended_early_total",
    "Attempts given up sooner than OWN_WORKER_WINDOW_S, by the worker's history.",
)
_NOT_PLACED = Counter(
    "livekit_placement_failed_total",
    "How often LiveKit was found not to deliver addressed dispatches: ignored, or dropped.",
    ["how"],
)
_SWEPT = Counter("sweep_enqueued_total", "Sessions that the sweep put back on a queue.", ["task"])


def _begin_at_zero() -> None:
    for cause in Cause:
        _MISSED.labels(cause)
        _ADMITTED.labels(cause)
    for how in ("ignored", "dropped"):
        _NOT_PLACED.labels(how)
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


def worker_left_out() -> None:
    """Count a worker that did nothing with several dispatches in a row."""
    _LEFT_OUT.inc()


def worker_answered(seconds: float) -> None:
    """Observe how long a chosen worker took to answer."""
    _ANSWERED.observe(seconds)


def worker_answered_late() -> None:
    """Count an answer to a dispatch that was given up."""
    _LATE.inc()


def attempt_ended_early() -> None:
    """Count an attempt that was given up after its worker's own window."""
    _ENDED_EARLY.inc()


def placement_failed(how: str) -> None:
    """Count that dispatches go by name from now on, because LiveKit `ignored` addresses, or `dropped`."""
    _NOT_PLACED.labels(how).inc()


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


def sessions_waiting(numbers: Mapping[tuple[str, str, Cause], int]) -> None:
    """Set how many sessions of an agent name, pool and cause wait.

    Only the process that lets them go on shows it.
    """
    _WAITING.clear()
    _POOL_WAITING.clear()
    for (agent_name, pool, cause), number in numbers.items():
        _WAITING.labels(cause).inc(number)
        _POOL_WAITING.labels(agent_label(agent_name), pool, cause).inc(number)


def traffic(rows: Sequence[TrafficRow]) -> None:
    """Set each pool's share of the sessions that name no pool.

    Only the process that watches the shares shows them.
    """
    _SHARE.clear()
    _TAKEN_BACK.clear()
    for row in rows:
        name = agent_label(row.agent_name)
        for pool, percent in row.shares.items():
            _SHARE.labels(name, pool).set(percent / 100)
            _TAKEN_BACK.labels(name, pool).set(0)
        for taken in row.taken_back:
            _TAKEN_BACK.labels(name, taken["deployment"]).set(taken["percent"] / 100)


def sessions_admitted(cause: Cause, number: int) -> None:
    """Count sessions that stopped waiting and went on."""
    _ADMITTED.labels(cause).inc(number)
