"""Which workers may get a session's dispatch, and which of them first.

LiveKit draws the worker of a dispatch among all that are registered, a host that vanished minutes ago
included. So the dispatcher names one. `candidates` is the choice as far as the registry tells it; the slot
itself is promised in Redis (shared/core/admission/slots.py), among those of the lowest rank the least busy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.contracts.workers import WorkerHeartbeat
from shared.core.workers.registry import Fleet


@dataclass(frozen=True)
class Candidate:
    """A worker that may be chosen. Of a lower `rank` is better; of two alike the less busy one.

    `on_trial`: only one session may have it, to try it.
    """

    worker_id: str
    address: str
    rank: int
    active_jobs: int
    max_jobs: int
    on_trial: bool = False


@dataclass(frozen=True)
class Choice:
    """Who gets a dispatch: the worker of this address; None: whom LiveKit draws among those of the name."""

    worker_id: str | None = None
    address: str | None = None


BY_NAME = Choice()


def candidates(
    fleet: Fleet, agent_name: str, *, deployment: str, tries: Mapping[str, int]
) -> list[Candidate]:
    """Return the workers of a name and deployment that have a free slot and an address of their own.

    tries: how often each worker had this session and came to nothing. The workers that have had it least
    often go first, then those that do not fail, then those that answer, then those without a fault. So no
    worker is taken a second time while another is left. A worker on trial is the first choice of a session
    that can still try others, and the last one of a session that has tried one.
    """
    free = [
        worker
        for worker in fleet.named(agent_name)
        if worker.deployment == deployment and worker.address is not None and worker.free_slots
    ]
    return [
        Candidate(
            worker_id=worker.worker_id,
            address=worker.address or "",
            rank=_rank(worker, tries, responds=worker.worker_id not in fleet.unresponsive),
            active_jobs=worker.active_jobs,
            max_jobs=worker.active_jobs + 1 if worker.is_on_trial else worker.max_jobs,
            on_trial=worker.is_on_trial,
        )
        for worker in free
    ]


def _rank(worker: WorkerHeartbeat, tries: Mapping[str, int], *, responds: bool) -> int:
    if worker.is_on_trial and not tries:
        return -1
    tried = tries.get(worker.worker_id, 0)
    return 8 * tried + 4 * (worker.circuit is not None) + 2 * (not responds) + bool(worker.faults)
