"""The gauges of what belongs to no single process, shown by the verifier that holds their lease."""

from collections.abc import Iterable, Sequence

from prometheus_client import Gauge

from shared.contracts.sessions import LIVE
from shared.contracts.workers import WorkerHeartbeat
from shared.platform.agent_names import agent_label

_SESSIONS = Gauge(
    "sessions_open", "Sessions that are not over, by where they stand.", ["status", "agent_name"]
)
_OUTBOX = Gauge("outbox_unpublished_events", "Session events that are not yet published.")
_OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the oldest of them.")
_WORKERS = Gauge(
    "fleet_workers",
    "Agent workers in the registry: serving, cordoned, draining, or not registered at LiveKit.",
    ["agent_name", "state"],
)
_SLOTS = Gauge(
    "fleet_slots",
    "Jobs that the workers of a name run (busy), or would take more (free).",
    ["agent_name", "state"],
)
_LOAD = Gauge("fleet_load_ratio", "Running jobs over the most that are allowed.", ["agent_name"])
_FAULTY = Gauge("fleet_workers_faulty", "Workers that have found a fault of their own.", ["agent_name"])
_QUEUE = Gauge("celery_queue_tasks", "Celery tasks that wait in a queue.", ["queue"])
_QUEUE_AGE = Gauge("celery_queue_oldest_seconds", "Age of the oldest of them.", ["queue"])
_DEAD_LETTERS = Gauge("stream_dead_letters", "Entries of all streams that are set aside.")

_NAN = float("nan")
WORKER_STATES = ("serving", "cordoned", "draining", "unregistered")

# The names that were seen: one whose last worker is gone has 0 workers, which is not the same as none known.
_fleet_names: set[str] = set()
_session_names: set[str] = set()


def sessions_open(found: Iterable[tuple[str, str, int]]) -> None:
    """So many sessions of a status and an agent name are not over."""
    _SESSIONS.clear()
    counted = [(status, agent_label(agent_name), number) for status, agent_name, number in found]
    _session_names.update(name for _, name, _ in counted)
    for name in _session_names:
        for status in LIVE:
            _SESSIONS.labels(status, name)
    for stands, name, number in counted:
        _SESSIONS.labels(stands, name).inc(number)


def outbox(events: float, oldest_s: float) -> None:
    """So many events are not published yet."""
    _OUTBOX.set(events)
    _OUTBOX_AGE.set(oldest_s)


def fleet(workers: Sequence[WorkerHeartbeat]) -> None:
    """These workers are in the registry."""
    by_name: dict[str, list[WorkerHeartbeat]] = {name: [] for name in _fleet_names}
    for worker in workers:
        by_name.setdefault(agent_label(worker.agent_name), []).append(worker)
    _fleet_names.update(by_name)
    for name, named in by_name.items():
        states = [_state(worker) for worker in named]
        for state in WORKER_STATES:
            _WORKERS.labels(name, state).set(states.count(state))
        busy, most = sum(w.active_jobs for w in named), sum(w.max_jobs for w in named)
        _SLOTS.labels(name, "busy").set(busy)
        _SLOTS.labels(name, "free").set(sum(w.free_slots for w in named))
        _LOAD.labels(name).set(busy / most if most else 0)
        _FAULTY.labels(name).set(sum(bool(w.faults) for w in named))


def celery_queue(queue: str, tasks: int, oldest_s: float) -> None:
    """So many tasks wait in a queue."""
    _QUEUE.labels(queue).set(tasks)
    _QUEUE_AGE.labels(queue).set(oldest_s)


def dead_letters(entries: int) -> None:
    """So many entries are set aside."""
    _DEAD_LETTERS.set(entries)


def forget_fleet() -> None:
    """It is not known which workers live."""
    for gauge in (_WORKERS, _SLOTS, _LOAD, _FAULTY):
        gauge.clear()


def forget_queues() -> None:
    """It is not known what waits in the queues."""
    _QUEUE.clear()
    _QUEUE_AGE.clear()
    _DEAD_LETTERS.set(_NAN)


def forget_all() -> None:
    """Nothing is known here; or another process shows it."""
    _SESSIONS.clear()
    outbox(_NAN, _NAN)
    forget_fleet()
    forget_queues()


def _state(worker: WorkerHeartbeat) -> str:
    if not worker.registered:
        return "unregistered"
    if worker.draining:
        return "draining"
    return "cordoned" if worker.cordoned else "serving"


forget_all()
