"""What the agent service needs from other parts, in its own terms."""

from typing import Protocol

from livekit.agents.job import RunningJobInfo

from shared.contracts.events import Envelope
from shared.contracts.workers import WorkerFault


class Outbox(Protocol):
    """A queue of events to publish. It never blocks and never raises."""

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Queue an event for `stream`; return False if there is no room for it."""


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


class Endpoint(Protocol):
    """What this worker knows about the inference endpoint."""

    async def look(self) -> WorkerFault | None:
        """Return what is wrong with the endpoint now; None if nothing is."""

    def lacks(self, llm: str) -> bool:
        """Return whether the endpoint certainly has no such language model."""
