"""The way of a worker and of each of its jobs to Rollcall, over the backend that the environment asks for."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livekit.agents.version import __version__ as sdk_version

from rollcall_agent.job.captions import show_captions
from rollcall_agent.job.fence import BackendFences, attempt_of
from rollcall_agent.job.job_beat import JobBeat
from rollcall_agent.job.publish import Publisher
from rollcall_agent.job.resume import read_past_turns
from rollcall_agent.spool.resend import Resender
from rollcall_agent.spool.spool import JobSpool, SpooledOutbox, folder_of
from rollcall_agent.transport import Transport
from rollcall_agent.worker.heartbeat import Heart, Standing
from rollcall_agent.worker.shared_counter import SharedCounter
from rollcall_agent.worker.stop import FLUSH_S, SPOOL_FINISH_S
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import CaptionChanged, Envelope
from shared.contracts.settings import WorkerSettings
from shared.contracts.workers import WorkerOrder
from shared.core.workers.backend import Backend, RedisBackend
from shared.platform.background import running
from shared.platform.redis.client import connect_redis


@dataclass(frozen=True)
class DirectTransport:
    """Rollcall's Redis, at `REDIS_URL`.

    Redis holds every session's turns and fences: only a worker in one's own network may reach it.
    """

    def open_worker(
        self,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> "WorkerWay":
        """See `Transport`."""
        backend = RedisBackend(connect_redis(settings.redis_url))
        return WorkerWay(backend, settings, standing=standing, obey=obey, spool_failures=spool_failures)

    def open_job(
        self, settings: WorkerSettings, order: DispatchOrder, job_id: str, *, spool_failures: SharedCounter
    ) -> "JobWay":
        """See `Transport`."""
        backend = RedisBackend(connect_redis(settings.redis_url))
        return JobWay(backend, settings, order, job_id, spool_failures=spool_failures)


def choose_transport(settings: WorkerSettings) -> Transport | None:
    """The way that the environment asks for; None if it names none. Redis's default address doesn't count."""
    return DirectTransport() if "redis_url" in settings.model_fields_set else None


class WorkerWay:
    """A worker's way over one backend, and the folder that `AGENT_SPOOL_DIR` names; see `WorkerTransport`."""

    def __init__(
        self,
        backend: Backend,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> None:
        self._backend = backend
        self.outbox = Publisher(backend)
        self.outbox.start()
        self.fences = BackendFences(backend)
        self._heart = Heart(
            backend=backend,
            settings=settings,
            version=f"livekit-agents/{sdk_version}",
            standing=standing,
            obey=obey,
        )
        self._resender = Resender(folder_of(settings), backend=backend, failures=spool_failures)

    def registered(self, worker_id: str) -> None:
        """See `WorkerTransport`."""
        self._heart.registered(worker_id)

    def beat_now(self) -> None:
        """See `WorkerTransport`."""
        self._heart.beat_now()

    async def run(self) -> None:
        """See `WorkerTransport`."""
        async with running(heart=self._heart.run, resender=self._resender.run):
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        """See `WorkerTransport`."""
        await self._resender.finish(within_s=SPOOL_FINISH_S)
        await self._heart.stop()
        await self.outbox.aclose(flush_s=FLUSH_S)
        await self._backend.aclose()


class JobWay:
    """A job's way over one backend, and its file in the folder of its worker; see `JobTransport`."""

    def __init__(
        self,
        backend: Backend,
        settings: WorkerSettings,
        order: DispatchOrder,
        job_id: str,
        *,
        spool_failures: SharedCounter,
    ) -> None:
        self._backend = backend
        self._attempt = attempt_of(order, backend)
        self._publisher = Publisher(backend)
        self._publisher.start()
        folder = folder_of(settings)
        self._spool = JobSpool(folder, failures=spool_failures) if folder is not None else None
        self._beat = JobBeat(self._attempt, job_id=job_id)
        self.outbox = _JobOutbox(self._publisher, self._spool)
        self.fences = BackendFences(backend)

    async def show(self, captions: Sequence[CaptionChanged]) -> bool:
        """See `JobTransport`."""
        return await show_captions(captions, attempt=self._attempt)

    def start_beat(self) -> None:
        """See `JobTransport`."""
        self._beat.start()

    async def read_past_turns(self) -> list[PastTurn]:
        """See `JobTransport`."""
        return await read_past_turns(self._attempt)

    async def aclose(self, *, flush_s: float) -> None:
        """See `JobTransport`."""
        await self._publisher.aclose(flush_s=flush_s)
        if self._spool is not None:
            await self._spool.aclose()
        await self._beat.aclose()
        await self._backend.aclose()


class _JobOutbox:
    def __init__(self, publisher: Publisher, spool: JobSpool | None) -> None:
        self._publisher = publisher
        self._offered = publisher if spool is None else SpooledOutbox(publisher, spool)

    def offer(self, stream: str, envelope: Envelope) -> bool:
        return self._offered.offer(stream, envelope)

    async def flush(self, *, within_s: float) -> bool:
        return await self._publisher.flush(within_s=within_s)
