"""What the agent service needs from outside, in its own words."""

from typing import Protocol

from livekit.agents.job import RunningJobInfo

from shared.contracts.events import Envelope
from shared.contracts.workers import WorkerFault


class Outbox(Protocol):
    """Where events are left to be published. Never blocks, never raises."""

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Take an event for `stream`; False if there is no room for it."""


class Worker(Protocol):
    """The LiveKit worker that this process is."""

    @property
    def id(self) -> str:
        """The id that LiveKit gave it."""

    @property
    def active_jobs(self) -> list[RunningJobInfo]:
        """The jobs that run now."""

    @property
    def draining(self) -> bool:
        """Whether it takes no new jobs."""


class Endpoint(Protocol):
    """The inference endpoint, as far as this worker knows it."""

    async def look(self) -> WorkerFault | None:
        """What is wrong with it now."""

    def lacks(self, llm: str) -> bool:
        """Whether it surely has no such language model."""
