"""Hold why a job ends: the first reason that was seen."""

from typing import Final

from rollcall_agent.worker.stop import WorkerStop

WORKER_STOPPED: Final = "worker_stopped"


class Ending:
    """Why one job ends. `stopping` tells whether its worker stops."""

    def __init__(self, stopping: WorkerStop) -> None:
        self._stopping = stopping
        self._reason: str | None = None
        self._in_order = False

    @property
    def in_order(self) -> bool:
        """Whether the agent's own code has ended the job, because it is done."""
        return self._in_order

    @property
    def reason(self) -> str:
        """The first reason that was seen; without one, the worker's stop or the SDK's shutdown of the job."""
        return self._reason or (WORKER_STOPPED if self._stopping.announced else "shutdown")

    def because(self, reason: str, *, by_the_job: bool = False, in_order: bool = False) -> None:
        """Remember why the job ends; what follows from that does not count.

        by_the_job: the SDK has closed the session with its job, which it also does when the worker stops.
        in_order: the agent's own code ends the job, because it is done.
        """
        if self._reason is None:
            self._in_order = in_order
        if by_the_job and self._stopping.announced:
            reason = WORKER_STOPPED
        self._reason = self._reason or reason

    def undo(self, reason: str) -> None:
        """The job goes on after all, if this is the reason that was seen."""
        if self._reason == reason:
            self._reason = None
