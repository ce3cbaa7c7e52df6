"""Hand-written fakes of the agent service's dependencies."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from livekit.agents.job import JobAcceptArguments, JobRequest, RunningJobInfo
from livekit.protocol.agent import Job
from livekit.protocol.models import Room

from rollcall_agent.report import JobFacts
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Envelope, Event
from shared.contracts.identifiers import SessionId
from shared.contracts.models import Models
from shared.contracts.workers import WorkerFault

SESSION = SessionId("0190c1f2-0000-7000-8000-000000000001")
FACTS = JobFacts("AJ_1", "room-1", "RM_1", "AW_1", "agent", "agent-AJ_1")

ALL_MODELS = Models(
    stt="deepgram/nova-3",
    llm="openai/gpt-5-mini",
    tts="cartesia/sonic-3",
    realtime="openai/gpt-realtime",
)


def an_order(attempt: int = 1, **fields: Any) -> DispatchOrder:
    return DispatchOrder(session_id=SESSION, attempt=attempt, **fields)


def a_job(order: DispatchOrder | None = None, *, job_id: str = "AJ_1", metadata: str | None = None) -> Job:
    room = Room(name="room-1", sid="RM_1")
    return Job(
        id=job_id,
        dispatch_id="AD_1",
        room=room,
        metadata=metadata or "",
        attributes=order.dispatch_attributes() if order else {},
        agent_name="agent",
    )


class ListedOutbox:
    """Keeps what it is offered."""

    def __init__(self) -> None:
        self.offered: list[tuple[str, Envelope]] = []

    def offer(self, stream: str, envelope: Envelope) -> bool:
        self.offered.append((stream, envelope))
        return True

    @property
    def events(self) -> list[Event]:
        return [envelope.event() for _, envelope in self.offered]


@dataclass
class FakeWorker:
    """A LiveKit worker with these jobs."""

    id: str = "AW_1"
    active_jobs: list[RunningJobInfo] = field(default_factory=list)
    draining: bool = False


def a_running_job(job_id: str) -> RunningJobInfo:
    return RunningJobInfo(
        accept_arguments=JobAcceptArguments(name="", identity="", metadata=""),
        job=a_job(job_id=job_id),
        url="",
        token="",
        worker_id="AW_1",
        fake_job=False,
    )


@dataclass
class FakeEndpoint:
    """An inference endpoint in this state."""

    fault: WorkerFault | None = None
    lacking: Collection[str] = ()

    async def look(self) -> WorkerFault | None:
        return self.fault

    def lacks(self, llm: str) -> bool:
        return llm in self.lacking

    async def run(self) -> None:
        """It never changes."""

    async def aclose(self) -> None:
        """Nothing is open."""


class Offer:
    """A job that LiveKit offers, and what was answered."""

    def __init__(self, job: Job, *, accepting: asyncio.Event | None = None, failure: Exception | None = None):
        self.accepted: JobAcceptArguments | None = None
        self.rejected_for_all: bool | None = None  # the `terminate` of the rejection
        self.accept_called = asyncio.Event()
        self._accepting = accepting
        self._failure = failure
        self.request = JobRequest(job=job, on_reject=self._on_reject, on_accept=self._on_accept)

    async def _on_reject(self, terminate: bool) -> None:
        self.rejected_for_all = terminate

    async def _on_accept(self, arguments: JobAcceptArguments) -> None:
        self.accept_called.set()
        if self._accepting is not None:
            await self._accepting.wait()
        if self._failure is not None:
            raise self._failure
        self.accepted = arguments
