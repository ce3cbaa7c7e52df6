"""What the library's modules need from each other, in their own terms."""

from typing import Final, Protocol

from livekit.agents.job import RunningJobInfo

from shared.contracts.agent_calls import RefusalCode
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Envelope
from shared.platform.redis.streams import UNREACHABLE


class ApiUnreachable(ConnectionError):
    """Rollcall's API can't be asked now; the message says why. One of `UNREACHABLE`."""


class CallRefused(Exception):
    """Rollcall's API does not do what it was asked, and will not do it later."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code

    @property
    def is_over(self) -> bool:
        """Whether the attempt has been replaced, or its session has ended."""
        return self.code is RefusalCode.OVER


FAILED: Final = (*UNREACHABLE, CallRefused)
"""What a call to a backend raises."""


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
