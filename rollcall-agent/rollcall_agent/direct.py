"""The way over Rollcall's Redis.

Redis holds every session's turns and fences: only a worker in one's own network may reach it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livekit.agents.version import __version__ as sdk_version
from redis.asyncio import Redis

from rollcall_agent.envelopes import wrap_told
from rollcall_agent.job.fence import RedisFences
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
from shared.contracts.keys import captions_channel
from shared.contracts.settings import WorkerSettings
from shared.contracts.workers import WorkerOrder
from shared.platform.background import running
from shared.platform.clock import utc_now
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)


@dataclass(frozen=True)
class DirectTransport:
    """Redis at `REDIS_URL`, and the folder that `AGENT_SPOOL_DIR` names."""

    def open_worker(
        self,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> "DirectWorker":
        """See `Transport`."""
        return DirectWorker(settings, standing=standing, obey=obey, spool_failures=spool_failures)

    def open_job(
        self, settings: WorkerSettings, order: DispatchOrder, job_id: str, *, spool_failures: SharedCounter
    ) -> "DirectJob":
        """See `Transport`."""
        return DirectJob(settings, order, job_id, spool_failures=spool_failures)


def choose_transport(settings: WorkerSettings) -> Transport | None:
    """The way that the environment asks for; None if it names none. Redis's default address doesn't count."""
    return DirectTransport() if "redis_url" in settings.model_fields_set else None


class DirectWorker:
    """A worker's way; see `WorkerTransport`."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        spool_failures: SharedCounter,
    ) -> None:
        self._redis = connect_redis(settings.redis_url)
        self.outbox = Publisher(self._redis)
        self.outbox.start()
        self.fences = RedisFences(self._redis)
        self._heart = Heart(
            redis=self._redis,
            settings=settings,
            version=f"livekit-agents/{sdk_version}",
            standing=standing,
            obey=obey,
        )
        self._resender = Resender(folder_of(settings), redis=self._redis, failures=spool_failures)

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
        await self._redis.aclose()


class DirectJob:
    """A job's way; see `JobTransport`."""

    def __init__(
        self, settings: WorkerSettings, order: DispatchOrder, job_id: str, *, spool_failures: SharedCounter
    ) -> None:
        self._order = order
        self._redis = connect_redis(settings.redis_url)
        self._publisher = Publisher(self._redis)
        self._publisher.start()
        folder = folder_of(settings)
        self._spool = JobSpool(folder, failures=spool_failures) if folder is not None else None
        self._beat = JobBeat(redis=self._redis, order=order, job_id=job_id)
        self.outbox = _JobOutbox(self._publisher, self._spool)
        self.fences = RedisFences(self._redis)

    async def show(self, captions: Sequence[CaptionChanged]) -> bool:
        """See `JobTransport`."""
        return await publish_captions(self._redis, captions)

    def start_beat(self) -> None:
        """See `JobTransport`."""
        self._beat.start()

    async def read_past_turns(self) -> list[PastTurn]:
        """See `JobTransport`."""
        return await read_past_turns(self._order, redis=self._redis)

    async def aclose(self, *, flush_s: float) -> None:
        """See `JobTransport`."""
        await self._publisher.aclose(flush_s=flush_s)
        if self._spool is not None:
            await self._spool.aclose()
        await self._beat.aclose()
        await self._redis.aclose()


async def publish_captions(redis: Redis, captions: Sequence[CaptionChanged]) -> bool:
    """Publish captions on their session's channel; return whether Redis took them."""
    try:
        async with redis.pipeline(transaction=False) as pipe:
            for caption in captions:
                envelope = wrap_told(caption, time=utc_now())
                pipe.publish(
                    captions_channel(caption.session_id), envelope.model_dump_json(exclude_none=True)
                )
            await pipe.execute()
    except UNREACHABLE as error:
        log.debug("captions_lost", error=repr(error))
        return False
    return True


class _JobOutbox:
    def __init__(self, publisher: Publisher, spool: JobSpool | None) -> None:
        self._publisher = publisher
        self._offered = publisher if spool is None else SpooledOutbox(publisher, spool)

    def offer(self, stream: str, envelope: Envelope) -> bool:
        return self._offered.offer(stream, envelope)

    async def flush(self, *, within_s: float) -> bool:
        return await self._publisher.flush(within_s=within_s)
