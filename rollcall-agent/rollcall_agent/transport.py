"""How a worker and its jobs talk with Rollcall, as the rest of this package sees it.

What crosses these protocols are the envelopes, orders and turns of `shared.contracts`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from rollcall_agent.ports import Fences, Outbox
from rollcall_agent.report import JobFacts
from rollcall_agent.worker.heartbeat import Standing
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import CaptionChanged
from shared.contracts.settings import WorkerSettings
from shared.contracts.workers import WorkerOrder


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
    def fences(self) -> Fences:
        """Where the fence of the job's session is read, and its attempt taken."""

    async def show(self, captions: Sequence[CaptionChanged]) -> bool:
        """Send captions to those who listen now; return whether Rollcall was reached."""

    def start_beat(self) -> None:
        """Tell from now on that the loop of this job turns."""

    async def read_past_turns(self) -> list[PastTurn]:
        """The conversation so far, in the order of speech; none if it can't be read, since a caller waits."""

    async def aclose(self, *, flush_s: float) -> None:
        """Send what is left, for `flush_s` seconds at most, and stop the beat."""


class WorkerTransport(Protocol):
    """A worker's way to Rollcall."""

    @property
    def outbox(self) -> Publishing:
        """Takes the worker's reports of the jobs that it is offered."""

    @property
    def fences(self) -> Fences:
        """Where the fences of the jobs' sessions are read."""

    def meet(self, order: DispatchOrder) -> None:
        """Learn of an attempt, before the outbox is offered reports of it."""

    def registered(self, worker_id: str) -> None:
        """LiveKit registered the worker under this id: tell the registry from now on that it lives."""

    def beat_now(self) -> None:
        """Tell the registry how the worker stands, without waiting for the next beat."""

    async def run(self) -> None:
        """Beat, and send again what jobs have left on this host's disk, until cancelled."""

    async def aclose(self) -> None:
        """Send what is left, and take the worker out of the registry."""


class Transport(Protocol):
    """One way to Rollcall. It is pickled to each job's process."""

    def open_worker(
        self,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> WorkerTransport:
        """Open the worker's way, in the running loop. `obey` is given what operators order the worker."""

    def open_job(
        self,
        settings: WorkerSettings,
        order: DispatchOrder,
        facts: JobFacts,
        *,
        spool_failures: SharedCounter,
    ) -> JobTransport:
        """Open a job's way, in the running loop."""
