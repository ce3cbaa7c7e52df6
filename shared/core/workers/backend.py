"""What agent workers and their jobs need of Rollcall, as a port, and the way to it over Redis.

A worker in one's own network uses `RedisBackend` itself. For one that reaches the API alone, the API uses it,
after it has checked what the worker asks (`shared.contracts.agent_calls`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis

from shared.contracts.dispatching import PastTurn
from shared.contracts.events import Envelope
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import captions_channel, fence_key
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.core.transcripts.erasure import is_erased
from shared.core.transcripts.watermark import StoredTurns, read_stored
from shared.core.workers import beats, history, orders, registry
from shared.core.workers.fence import take_attempt
from shared.platform.redis.streams import publish


class AttemptBackend(Protocol):
    """What is asked about one attempt. Each call raises one of `UNREACHABLE`, and may then have been done."""

    async def show(self, captions: Sequence[Envelope]) -> None:
        """Send captions to those who follow the session now."""

    async def read_fence(self) -> str | None:
        """The session's fence: its current attempt, or `FENCE_CLOSED`; None if there is none."""

    async def take(self, job_id: str) -> bool:
        """Take the attempt for a job, or keep it; False if another job has it."""

    async def beat(self, job_id: str, count: int) -> None:
        """Tell that the job's event loop turns, and keep the attempt for the job. `count` grows."""

    async def forget(self) -> None:
        """Tell that the job beats no more, because it is over."""

    async def read_history(self) -> list[PastTurn] | None:
        """The conversation so far, in the order of speech; None if there is none.

        Raises `pydantic.ValidationError` too.
        """

    async def read_stored(self, job_id: str | None) -> StoredTurns:
        """Which of the job's turns are stored."""

    async def is_erased(self) -> bool:
        """Whether the session's text must not be sent."""


class Backend(Protocol):
    """What a worker and its jobs ask. Each call raises one of `UNREACHABLE`, and may then have been done."""

    def attempt(self, session_id: SessionId, attempt: int, credential: str | None) -> AttemptBackend:
        """What is asked about one attempt; `credential` is that of its order."""

    async def publish(self, stream: str, envelopes: Sequence[Envelope]) -> None:
        """Append events to the stream of reports or of turns, in order."""

    async def beat_worker(self, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
        """Tell how the worker stands; return the newest order to it."""

    async def read_order(self, worker_id: str) -> WorkerOrder | None:
        """The newest order to a former id of the worker."""

    async def remove_worker(self, worker_id: str) -> None:
        """Take a worker out of the registry."""

    async def aclose(self) -> None:
        """Close the way."""


class RedisBackend:
    """The way over Rollcall's Redis, which asks for no credentials. See `Backend`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def attempt(
        self,
        session_id: SessionId,
        attempt: int,
        credential: str | None = None,  # noqa: ARG002
    ) -> "RedisAttempt":
        """See `Backend`."""
        return RedisAttempt(self._redis, session_id, attempt)

    async def publish(self, stream: str, envelopes: Sequence[Envelope]) -> None:
        """See `Backend`."""
        await publish(self._redis, stream, envelopes)

    async def beat_worker(self, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
        """See `Backend`."""
        return await registry.write_heartbeat(self._redis, heartbeat)

    async def read_order(self, worker_id: str) -> WorkerOrder | None:
        """See `Backend`."""
        return await orders.read_order(self._redis, worker_id)

    async def remove_worker(self, worker_id: str) -> None:
        """See `Backend`."""
        await registry.remove_worker(self._redis, worker_id)

    async def aclose(self) -> None:
        """See `Backend`."""
        await self._redis.aclose()


@dataclass(frozen=True)
class RedisAttempt:
    """See `AttemptBackend`."""

    redis: Redis
    session_id: SessionId
    number: int

    async def show(self, captions: Sequence[Envelope]) -> None:
        """See `AttemptBackend`."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for caption in captions:
                pipe.publish(captions_channel(self.session_id), caption.model_dump_json(exclude_none=True))
            await pipe.execute()

    async def read_fence(self) -> str | None:
        """See `AttemptBackend`."""
        value = await self.redis.get(fence_key(self.session_id))
        return None if value is None else str(value)

    async def take(self, job_id: str) -> bool:
        """See `AttemptBackend`."""
        return await take_attempt(self.redis, self.session_id, self.number, job_id)

    async def beat(self, job_id: str, count: int) -> None:
        """See `AttemptBackend`."""
        beat = beats.Beat(self.session_id, self.number, job_id, count)
        await beats.write_job_beats(self.redis, [beat])

    async def forget(self) -> None:
        """See `AttemptBackend`."""
        await beats.forget_job(self.redis, self.session_id, self.number)

    async def read_history(self) -> list[PastTurn] | None:
        """See `AttemptBackend`."""
        return await history.read_history(self.redis, self.session_id)

    async def read_stored(self, job_id: str | None) -> StoredTurns:
        """See `AttemptBackend`."""
        return await read_stored(self.redis, self.session_id, job_id=job_id, attempt=self.number)

    async def is_erased(self) -> bool:
        """See `AttemptBackend`."""
        return await is_erased(self.redis, self.session_id)
