"""What the library's modules need from each other, in their own terms."""

from typing import Protocol

from livekit.agents.job import RunningJobInfo

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Envelope


class Outbox(Protocol):
    """A queue of events to publish. It never blocks and never raises."""

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Queue an event for `stream`; return False if there is no room for it."""


class Fences(Protocol):
    """Keeps jobs out of sessions that have moved on. Bounded in time: what can't be read keeps nobody out."""

    async def is_late(self, order: DispatchOrder) -> bool:
        """Return whether the session's fence keeps the attempt out."""

    async def is_second(self, order: DispatchOrder, job_id: str) -> bool:
        """Take the attempt for this job; return True if another job that still beats has it."""


class Worker(Protocol):
    """The LiveKit worker of this process."""

    @property
    def id(self) -> str:
        """The worker's id from LiveKit."""

    @property
    def active_jobs(self) -> list[RunningJobInfo]:
        """The running jobs."""

    @property
    def draining(self) -> bool:
        """Whether the worker takes no new jobs."""
