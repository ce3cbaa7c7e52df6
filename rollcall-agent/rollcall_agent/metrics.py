"""The metrics of the agent worker. Labels are closed sets."""

from typing import Literal, get_args

from prometheus_client import Counter, Gauge

from shared.contracts.workers import Refusal

Outcome = Refusal | Literal["accepted", "malformed", "not_assigned", "second_job"]

_jobs = Counter("agent_jobs_total", "Jobs that LiveKit offered, by outcome.", ["outcome"])
_active = Gauge("agent_active_jobs", "Jobs that run, or that were accepted and are about to run.")
_capacity = Gauge("agent_max_jobs", "How many jobs this worker takes at once.")
_registered = Gauge("agent_registered", "1 while this worker is registered at LiveKit.")
_draining = Gauge("agent_draining", "1 while this worker takes no new jobs and waits for its calls.")
_cordoned = Gauge("agent_cordoned", "1 while an operator keeps new jobs from this worker.")
_beats_failed = Counter("agent_heartbeats_failed_total", "Heartbeats that Rollcall did not accept.")
_fence_unreadable = Counter("agent_fence_unreadable_total", "Fences that could not be read in time.")
_publish_retries = Counter(
    "agent_publish_retries_total", "Sends to a stream that failed and are tried again."
)
_dropped = Counter("agent_events_dropped_total", "Events given up because the queue was full.")
_spool_files = Gauge("agent_spool_files", "Jobs whose turns are on this host's disk.")
_spool_bytes = Gauge("agent_spool_bytes", "Bytes of spool files on this host's disk.")
_spool_oldest = Gauge(
    "agent_spool_oldest_seconds",
    "Age of the oldest turn on this host's disk that the database is not known to have.",
)
_resent = Counter(
    "agent_turns_resent_total", "Turns sent again from the disk because the database did not have them."
)
_spool_failures = Counter(
    "agent_spool_failures_total", "Turns that could not be written to this host's disk."
)
_torn = Counter("agent_spool_torn_lines_total", "Lines of spool files that a crash cut off.")
_spool_dropped = Counter(
    "agent_spool_turns_dropped_total", "Turns given up because they could not be stored for a month."
)


for _outcome in (*Refusal, *get_args(get_args(Outcome)[1])):
    _jobs.labels(_outcome)


def job_offered(outcome: Outcome) -> None:
    """Count an offered job by the worker's answer."""
    _jobs.labels(outcome).inc()


def worker_seen(*, active: int, maximum: int, registered: bool, draining: bool, cordoned: bool) -> None:
    """Set the gauges of the worker's state."""
    _active.set(active)
    _capacity.set(maximum)
    _registered.set(registered)
    _draining.set(draining)
    _cordoned.set(cordoned)


def heartbeat_failed() -> None:
    """Count a heartbeat that the registry did not accept."""
    _beats_failed.inc()


def fence_unreadable() -> None:
    """Count a fence that could not be read; the job went on."""
    _fence_unreadable.inc()


def publish_retried() -> None:
    """Count a batch of events that Rollcall did not accept; it is sent again."""
    _publish_retries.inc()


def spool_seen(*, files: int, size: int, oldest_s: float) -> None:
    """Set the gauges of the spool on this host's disk."""
    _spool_files.set(files)
    _spool_bytes.set(size)
    _spool_oldest.set(oldest_s)


def turns_resent(number: int) -> None:
    """Count turns that were sent again."""
    _resent.inc(number)


def spool_failed(number: int) -> None:
    """Count turns that could not be written to the disk."""
    _spool_failures.inc(number)


def spool_torn() -> None:
    """Count a line that is not an event."""
    _torn.inc()


def spool_dropped(number: int) -> None:
    """Count turns that were given up because of their age."""
    _spool_dropped.inc(number)


def event_dropped() -> None:
    """Count an event that was dropped because the queue was full."""
    _dropped.inc()
