"""The way of a worker and of each of its jobs to Rollcall, over the backend that the environment asks for."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livekit.agents.version import __version__ as sdk_version
from pydantic import SecretStr

from rollcall_agent.api.backend import ApiBackend
from rollcall_agent.api.link import Link
from rollcall_agent.job.captions import show_captions
from rollcall_agent.job.fence import READ_TIMEOUT_S, BackendFences, attempt_of
from rollcall_agent.job.job_beat import JobBeat
from rollcall_agent.job.publish import STARTED_FLUSH_S, Publisher
from rollcall_agent.job.resume import read_past_turns
from rollcall_agent.report import JobFacts
from rollcall_agent.settings import LibrarySettings
from rollcall_agent.spool.resend import Resender
from rollcall_agent.spool.spool import JobSpool, SpooledOutbox, folder_of
from rollcall_agent.transport import Transport
from rollcall_agent.worker.heartbeat import Heart, Standing
from rollcall_agent.worker.shared_counter import SharedCounter
from rollcall_agent.worker.stop import FLUSH_S, SPOOL_FINISH_S
from shared.contracts.agent_calls import JOB_PATH, WORKER_PATH
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import CaptionChanged, Envelope
from shared.contracts.settings import WorkerSettings
from shared.contracts.url_parts import public_url
from shared.contracts.workers import WorkerOrder
from shared.core.workers.backend import Backend, RedisBackend
from shared.core.workers.credentials import KeyPair
from shared.platform.background import running
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import connect_redis

log = get_logger(__name__)


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
        self,
        settings: WorkerSettings,
        order: DispatchOrder,
        facts: JobFacts,
        *,
        spool_failures: SharedCounter,
    ) -> "JobWay":
        """See `Transport`."""
        backend = RedisBackend(connect_redis(settings.redis_url))
        return JobWay(backend, settings, order, facts, spool_failures=spool_failures)


@dataclass(frozen=True)
class ApiTransport:
    """Rollcall's API at an address, for workers anywhere.

    A worker proves itself with the API key, or with a token that it signs with its LiveKit key pair; a job
    with the credential in its dispatch.
    """

    url: str = field(repr=False)
    api_key: SecretStr | None = None

    def open_worker(
        self,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> "WorkerWay":
        """See `Transport`."""
        pair = KeyPair(settings.livekit_api_key, settings.livekit_api_secret)
        bearer = self.api_key.get_secret_value if self.api_key is not None else pair.sign_worker
        link = Link(self.url + WORKER_PATH, bearer=bearer)
        link.start()
        backend = ApiBackend(link, presents=True)
        return WorkerWay(backend, settings, standing=standing, obey=obey, spool_failures=spool_failures)

    def open_job(
        self,
        settings: WorkerSettings,
        order: DispatchOrder,
        facts: JobFacts,
        *,
        spool_failures: SharedCounter,
    ) -> "JobWay":
        """See `Transport`. The job of an order without a credential can tell nothing."""
        credential = order.credential
        link = Link(
            self.url + JOB_PATH,
            bearer=lambda: credential or "",
            headers={"X-Rollcall-Worker": facts.worker_id, "X-Rollcall-Job": facts.job_id},
        )
        if credential is not None:
            link.start()
        return JobWay(
            ApiBackend(link, presents=False),
            settings,
            order,
            facts,
            spool_failures=spool_failures,
            kept_credential=credential,
            fence_within_s=STARTED_FLUSH_S,  # the first call waits for the handshake, as the report beside it
        )


def choose_transport(settings: LibrarySettings) -> Transport | None:
    """The way that the environment asks for; None if it names none. Redis's default address doesn't count."""
    if settings.rollcall_url is not None:
        log.info("way_chosen", way="api", url=public_url(settings.rollcall_url))
        return ApiTransport(settings.rollcall_url, settings.rollcall_api_key)
    if "redis_url" in settings.model_fields_set:
        log.info("way_chosen", way="redis")
        return DirectTransport()
    return None


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

    def meet(self, order: DispatchOrder) -> None:
        """See `WorkerTransport`."""
        attempt_of(order, self._backend)

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
    """A job's way over one backend, and its file in the folder of its worker; see `JobTransport`.

    kept_credential: what the file keeps for a later worker; None where the backend asks for none.
    """

    def __init__(
        self,
        backend: Backend,
        settings: WorkerSettings,
        order: DispatchOrder,
        facts: JobFacts,
        *,
        spool_failures: SharedCounter,
        kept_credential: str | None = None,
        fence_within_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._backend = backend
        self._attempt = attempt_of(order, backend)
        self._publisher = Publisher(backend)
        self._publisher.start()
        folder = folder_of(settings)
        self._spool: JobSpool | None = None
        if folder is not None:
            self._spool = JobSpool(folder, failures=spool_failures, credential=kept_credential)
        self._beat = JobBeat(self._attempt, job_id=facts.job_id)
        self.outbox = _JobOutbox(self._publisher, self._spool)
        self.fences = BackendFences(backend, within_s=fence_within_s)

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
