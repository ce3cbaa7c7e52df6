"""The ways by which a worker and its jobs talk with Rollcall, as the rest of this package sees them.

`rollcall_agent.direct` is the only way now: Rollcall's Redis, for workers in one's own network. A way over
Rollcall's API is another implementation of these protocols, and changes nothing else in this package.
"""

from collections.abc import Callable
from typing import Protocol

from services.agent.job.captions import Captions
from services.agent.job.turns import TurnLog
from services.agent.ports import Outbox
from services.agent.settings import AgentSettings
from services.agent.worker.heartbeat import Standing
from services.agent.worker.shared_counter import SharedCounter
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.workers import WorkerOrder
from shared.core.workers.fence import Strings


class Publishing(Outbox, Protocol):
    """An outbox that sends what it is offered, in order."""

    async def flush(self, *, within_s: float) -> bool:
        """Wait until all is sent, for `within_s` seconds at most; whether it is."""


class JobTransport(Protocol):
    """One job's way to Rollcall, in the job's own process and loop."""

    @property
    def outbox(self) -> Publishing:
        """Takes the job's reports and turns."""

    @property
    def fences(self) -> Strings:
        """Where the fence of the job's session is read, and its attempt taken."""

    def captions(self) -> Captions:
        """Captions of the job's session; not started."""

    def start_beat(self) -> None:
        """Tell from now on that the loop of this job turns."""

    async def take_over(self, turns: TurnLog) -> list[PastTurn]:
        """The conversation so far, if the job takes one over; `turns` does not publish it again."""

    async def aclose(self, *, flush_s: float) -> None:
        """Send what is left, for `flush_s` seconds at most, and stop the beat."""


class WorkerTransport(Protocol):
    """A worker's way to Rollcall."""

    @property
    def outbox(self) -> Publishing:
        """Takes the worker's reports of the jobs that it is offered."""

    @property
    def fences(self) -> Strings:
        """Where the fences of the jobs' sessions are read."""

    def registered(self, worker_id: str) -> None:
        """LiveKit registered the worker under this id: tell the registry from now on that it lives."""

    async def run(self) -> None:
        """Beat, and send again what jobs have left on this host's disk, until cancelled."""

    async def aclose(self) -> None:
        """Send what is left, and take the worker out of the registry."""


class Transport(Protocol):
    """One way to Rollcall. It is pickled to each job's process."""

    def open_worker(
        self,
        settings: AgentSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> WorkerTransport:
        """Open the worker's way, in the running loop. `obey` is given what operators order the worker."""

    def open_job(
        self, settings: AgentSettings, order: DispatchOrder, job_id: str, *, spool_failures: SharedCounter
    ) -> JobTransport:
        """Open a job's way, in the running loop."""
