"""What the agent worker counts. Labels are closed sets."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, get_args

from prometheus_client import Counter, Gauge

from shared.contracts.workers import Refusal

Outcome = Refusal | Literal["accepted", "malformed", "not_assigned", "second_job"]

_jobs = Counter("agent_jobs_total", "Jobs that LiveKit offered, by what became of them.", ["outcome"])
_active = Gauge("agent_active_jobs", "Jobs that run, or that were accepted and are about to.")
_capacity = Gauge("agent_max_jobs", "How many jobs this worker takes at once.")
_registered = Gauge("agent_registered", "1 while this worker is registered at LiveKit.")
_draining = Gauge("agent_draining", "1 while this worker takes no new jobs and waits for its calls.")
_cordoned = Gauge("agent_cordoned", "1 while an operator keeps new jobs from this worker.")
_beats_failed = Counter("agent_heartbeats_failed_total", "Heartbeats that Redis did not take.")
_inference_up = Gauge(
    "agent_inference_up", "1 while the inference endpoint answers this worker as it should."
)
_quota_limit = Gauge(
    "inference_quota_limit",
    "What LiveKit Inference allows: requests and tokens a minute, and credits.",
    ["dimension"],
)
_quota_used = Gauge("inference_quota_used", "How much of that is used.", ["dimension"])
_fence_unreadable = Counter("agent_fence_unreadable_total", "Fences that Redis did not tell in time.")
_publish_retries = Counter("agent_publish_retries_total", "Sends to a stream that failed and follow again.")
_dropped = Counter("agent_events_dropped_total", "Events given up, since the queue was full.")
_spool_files = Gauge("agent_spool_files", "Jobs whose turns are on this host's disk.")
_spool_bytes = Gauge("agent_spool_bytes", "Bytes that they take.")
_spool_oldest = Gauge(
    "agent_spool_oldest_seconds",
    "Age of the oldest turn on this host's disk that the database is not known to have.",
)
_resent = Counter(
    "agent_turns_resent_total", "Turns sent from the disk, since the database did not have them."
)
_spool_failures = Counter(
    "agent_spool_failures_total", "Turns that could not be written to this host's disk."
)
_torn = Counter("agent_spool_torn_lines_total", "Lines of a spool that a crash has cut off.")
_spool_dropped = Counter(
    "agent_spool_turns_dropped_total", "Turns given up, since nobody took them for a month."
)


for _outcome in (*Refusal, *get_args(get_args(Outcome)[1])):
    _jobs.labels(_outcome)


def job_offered(outcome: Outcome) -> None:
    """LiveKit offered a job and has its answer."""
    _jobs.labels(outcome).inc()


def worker_seen(*, active: int, maximum: int, registered: bool, draining: bool, cordoned: bool) -> None:
    """How the worker stands."""
    _active.set(active)
    _capacity.set(maximum)
    _registered.set(registered)
    _draining.set(draining)
    _cordoned.set(cordoned)


def heartbeat_failed() -> None:
    """The registry could not be told that this worker lives."""
    _beats_failed.inc()


def inference_checked(*, up: bool) -> None:
    """The inference endpoint was asked whether it serves this worker."""
    _inference_up.set(up)


def inference_quota_told(quota: Mapping[str, str]) -> None:
    """The inference endpoint said how much of a quota there is; `rpm_limit`, `credits_used` and so on."""
    for name, value in quota.items():
        dimension, _, kind = name.partition("_")
        gauge = {"limit": _quota_limit, "used": _quota_used}[kind]
        with suppress(ValueError):
            gauge.labels(dimension).set(float(value))


def fence_unreadable() -> None:
    """A job went on without knowing whether it is late."""
    _fence_unreadable.inc()


def publish_retried() -> None:
    """Redis did not take a batch of events; it is sent again."""
    _publish_retries.inc()


def spool_seen(*, files: int, size: int, oldest_s: float) -> None:
    """What is on this host's disk."""
    _spool_files.set(files)
    _spool_bytes.set(size)
    _spool_oldest.set(oldest_s)


def turns_resent(number: int) -> None:
    """Turns were sent again."""
    _resent.inc(number)


def spool_failed(number: int) -> None:
    """Turns could not be written to the disk."""
    _spool_failures.inc(number)


def spool_torn() -> None:
    """A line was found that is no event."""
    _torn.inc()


def spool_dropped(number: int) -> None:
    """Turns were too old to be kept any longer."""
    _spool_dropped.inc(number)


def event_dropped() -> None:
    """An event found the queue full."""
    _dropped.inc()
