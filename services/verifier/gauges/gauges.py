"""The gauges of what belongs to no single process. Only the verifier that holds their lease shows them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import Gauge

from shared.contracts.sessions import LIVE
from shared.contracts.workers import WorkerHeartbeat
from shared.platform.agent_names import agent_label

_SESSIONS = Gauge("sessions_open", "Sessions that are not over, by status.", ["status", "agent_name"])
_OUTBOX = Gauge("outbox_unpublished_events", "Session events that are not yet published.")
_OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the oldest unpublished session event.")
_WORKERS = Gauge(
    "fleet_workers",
    "Agent workers in the registry: serving, left out, cordoned, draining, or not registered at LiveKit.",
    ["agent_name", "state"],
)
_SLOTS = Gauge(
    "fleet_slots",
    "Slots of the workers of a name: taken by running jobs (busy), or free.",
    ["agent_name", "state"],
)
_POOL_WORKERS = Gauge(
    "fleet_pool_workers",
    "Agent workers in the registry by pool.",
    ["agent_name", "deployment", "state"],
)
_POOL_SLOTS = Gauge("fleet_pool_slots", "Slots by pool.", ["agent_name", "deployment", "state"])
_LOAD = Gauge("fleet_load_ratio", "Running jobs as a share of the most allowed.", ["agent_name"])
_FAULTY = Gauge("fleet_workers_faulty", "Workers that report a fault of their own.", ["agent_name"])
_LOST = Gauge(
    "fleet_workers_lost",
    "Workers that fell silent without a goodbye in the last 20 minutes. LiveKit may still list them.",
    ["agent_name"],
)
_QUEUE = Gauge("celery_queue_tasks", "Celery tasks that wait in a queue.", ["queue"])
_QUEUE_AGE = Gauge("celery_queue_oldest_seconds", "Age of the oldest waiting Celery task.", ["queue"])
_DEAD_LETTERS = Gauge("stream_dead_letters", "Entries of all streams that are set aside.")

_NAN = float("nan")
WORKER_STATES = ("serving", "left_out", "cordoned", "draining", "unregistered")

# The names seen so far: a name whose last worker is gone has 0 workers, which is not the same as unknown.
_fleet_names: set[str] = set()
_fleet_pools: set[tuple[str, str]] = set()
_session_names: set[str] = set()


def sessions_open(found: Iterable[tuple[str, str, int]]) -> None:
    """Set how many open sessions each status and agent name has."""
    _SESSIONS.clear()
    counted = [(status, agent_label(agent_name), number) for status, agent_name, number in found]
    _session_names.update(name for _, name, _ in counted)
    for name in _session_names:
        for status in LIVE:
            _SESSIONS.labels(status, name)
    for stands, name, number in counted:
        _SESSIONS.labels(stands, name).inc(number)


def outbox(events: float, oldest_s: float) -> None:
    """Set how many events are not published yet, and the age of the oldest."""
    _OUTBOX.set(events)
    _OUTBOX_AGE.set(oldest_s)


def fleet(workers: Sequence[WorkerHeartbeat], lost: Sequence[WorkerHeartbeat] = ()) -> None:
    """Set the gauges of the workers in the registry, and of those that fell silent."""
    by_name: dict[str, list[WorkerHeartbeat]] = {name: [] for name in _fleet_names}
    for worker in workers:
        by_name.setdefault(agent_label(worker.agent_name), []).append(worker)
    silent = Counter(agent_label(worker.agent_name) for worker in lost)
    for name in silent:
        by_name.setdefault(name, [])
    _fleet_names.update(by_name)
    for name, named in by_name.items():
        states = [_state(worker) for worker in named]
        for state in WORKER_STATES:
            _WORKERS.labels(name, state).set(states.count(state))
        busy, most = sum(w.active_jobs for w in named), sum(w.max_jobs for w in named)
        _SLOTS.labels(name, "busy").set(busy)
        _SLOTS.labels(name, "free").set(sum(w.free_slots for w in named))
        _LOAD.labels(name).set(busy / most if most else 0)
        _pools(name, named)
        _FAULTY.labels(name).set(sum(bool(w.faults) for w in named))
        _LOST.labels(name).set(silent[name])


def _pools(name: str, workers: Sequence[WorkerHeartbeat]) -> None:
    pools: dict[str, list[WorkerHeartbeat]] = {pool: [] for known, pool in _fleet_pools if known == name}
    for worker in workers:
        pools.setdefault(worker.deployment, []).append(worker)
    _fleet_pools.update((name, pool) for pool in pools)
    for pool, of_pool in pools.items():
        states = [_state(worker) for worker in of_pool]
        for state in WORKER_STATES:
            _POOL_WORKERS.labels(name, pool, state).set(states.count(state))
        _POOL_SLOTS.labels(name, pool, "busy").set(sum(w.active_jobs for w in of_pool))
        _POOL_SLOTS.labels(name, pool, "free").set(sum(w.free_slots for w in of_pool))


def celery_queue(queue: str, tasks: int, oldest_s: float) -> None:
    """Set how many tasks wait in a queue, and the age of the oldest."""
    _QUEUE.labels(queue).set(tasks)
    _QUEUE_AGE.labels(queue).set(oldest_s)


def dead_letters(entries: int) -> None:
    """Set how many entries are set aside."""
    _DEAD_LETTERS.set(entries)


def forget_fleet() -> None:
    """Show nothing about workers, because they are unknown."""
    for gauge in (_WORKERS, _SLOTS, _POOL_WORKERS, _POOL_SLOTS, _LOAD, _FAULTY, _LOST):
        gauge.clear()


def forget_queues() -> None:
    """Show nothing about queues, because they are unknown."""
    _QUEUE.clear()
    _QUEUE_AGE.clear()
    _DEAD_LETTERS.set(_NAN)


def forget_all() -> None:
    """Show nothing, because all is unknown here, or because another process shows it."""
    _SESSIONS.clear()
    outbox(_NAN, _NAN)
    forget_fleet()
    forget_queues()


def _state(worker: WorkerHeartbeat) -> str:
    if not worker.registered:
        return "unregistered"
    if worker.draining:
        return "draining"
    if worker.cordoned:
        return "cordoned"
    return "left_out" if worker.is_left_out else "serving"


forget_all()
