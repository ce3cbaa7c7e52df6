"""The heartbeat of an agent worker."""

from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict

from shared.contracts.causes import Cause
from shared.contracts.models import Models
from shared.contracts.text import Brief, CleanModel


class Refusal(StrEnum):
    """Why a worker turned a job down; this is the `reason` in its report."""

    CORDONED = "cordoned"  # an operator keeps new jobs from it
    FULL = "full"  # all its slots are taken
    INFERENCE = "inference"  # its inference endpoint does not answer, or refuses it
    LATE = "late"  # another attempt has replaced this one
    MISCONFIGURED = "misconfigured"

    @property
    def is_of_this_worker(self) -> bool:
        """Return whether another worker may still take the job."""
        return self in (Refusal.CORDONED, Refusal.FULL, Refusal.INFERENCE)


class WorkerOrder(StrEnum):
    """What an operator orders a worker to do."""

    CORDON = "cordon"  # take no new jobs, and keep the calls that run
    UNCORDON = "uncordon"  # take new jobs again
    DRAIN = "drain"  # as `cordon`, and end when the last call has ended; this is final


class WorkerFault(CleanModel):
    """What keeps a worker from serving a session well, as found by the worker itself."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    detail: Brief
    since: datetime


class CircuitState(StrEnum):
    """Whether new sessions are kept from something that failed."""

    OPEN = "open"  # they are
    HALF_OPEN = "half_open"  # one session may try it


class WorkerCircuit(CleanModel):
    """Why and how far new sessions are kept from a worker that took dispatches and did nothing.

    `ignored`: every worker of its agent name and deployment has such a circuit, so it changes nothing.
    """

    model_config = ConfigDict(frozen=True)

    state: CircuitState
    reason: Brief
    ignored: bool = False


class WorkerHeartbeat(CleanModel):
    """What an agent worker reports about itself every second.

    `load` is its jobs divided by its maximum, 0 to 1. `sessions` are those whose job the worker has accepted
    and not yet ended. A job that Rollcall did not dispatch counts only in `active_jobs`. A `cordoned` worker
    takes no new jobs because an operator ordered so; a `draining` one ends when its calls have ended.
    `address` is the LiveKit deployment under which this worker alone is registered, beside `deployment`;
    null while it is not. `address_worker_id` is the id that LiveKit gave that registration. The worker does
    not know its `circuit`: whoever reads the registry adds it.
    """

    model_config = ConfigDict(frozen=True)

    worker_id: str
    agent_name: str
    deployment: str = ""
    address: str | None = None
    address_worker_id: str | None = None
    host: str
    pid: int
    version: str
    livekit_url: str
    load: float
    active_jobs: int
    max_jobs: int
    draining: bool = False
    cordoned: bool = False
    registered: bool = True
    started_at: datetime
    beat_at: datetime
    models: Models = Models()
    sessions: list[str] = []
    faults: list[WorkerFault] = []
    circuit: WorkerCircuit | None = None

    @property
    def is_left_out(self) -> bool:
        """Whether new sessions are kept from this worker because it failed others."""
        return self.circuit is not None and not self.circuit.ignored

    @property
    def is_on_trial(self) -> bool:
        """Whether one session may try this worker, which is left out otherwise."""
        circuit = self.circuit
        return circuit is not None and not circuit.ignored and circuit.state is CircuitState.HALF_OPEN

    @property
    def is_leaving(self) -> bool:
        """Whether it takes no new job, however many slots get free."""
        return self.draining or self.cordoned

    @property
    def free_slots(self) -> int:
        """Return how many more jobs this worker would accept now, and may get."""
        if self.is_leaving or not self.registered:
            return 0
        free = max(0, self.max_jobs - self.active_jobs)
        if not self.is_left_out:
            return free
        return min(free, 1) if self.is_on_trial else 0
