"""Job beats: twice a second, each agent's job shows that its event loop is running.

The beats stop if a job is killed, frozen or hung, or if its host is gone, while LiveKit lists its agent as
ACTIVE for another 20 s. Readers compare counts, never clocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from shared.contracts.keys import JOB_BEATS, JOB_WORKERS, WORKER_WAYS, job_beat_field

JOB_BEAT_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Beats:
    """What there is to hear at one moment.

    `counts` are those of every job that beats or has died silently, by its field (`job_beat_field`).
    `workers` says, for jobs whose beats come over the API, whose they are. `ways` are the workers whose way
    over the API is open: the connection and the count of its newest beat, in one text.
    """

    counts: Mapping[str, int]
    workers: Mapping[str, str]
    ways: Mapping[str, str]


async def write_job_beat(
    redis: Redis, session_id: str, attempt: int, count: int, *, worker_id: str | None = None
) -> None:
    """Write a beat of the job; `worker_id` is its worker if it came over the API.

    Raises `redis.exceptions.RedisError` or `OSError`.
    """
    field = job_beat_field(session_id, attempt)
    if worker_id is None:
        await redis.hset(JOB_BEATS, field, str(count))
        return
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(JOB_WORKERS, field, worker_id)
        pipe.hset(JOB_BEATS, field, str(count))
        await pipe.execute()


async def forget_job(redis: Redis, session_id: str, attempt: int) -> None:
    """Remove the beats of a job that is over or known to be dead."""
    field = job_beat_field(session_id, attempt)
    await redis.hdel(JOB_BEATS, field)
    await redis.hdel(JOB_WORKERS, field)


async def read_beats(redis: Redis) -> Beats:
    """Read all beats; raises like `write_job_beat`."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(JOB_BEATS)
        pipe.hgetall(JOB_WORKERS)
        pipe.hgetall(WORKER_WAYS)
        counts, workers, ways = await pipe.execute()
    return Beats({str(field): int(count) for field, count in counts.items()}, workers, ways)


async def note_way(redis: Redis, worker_id: str, *, connection: str, count: int) -> None:
    """Note that a worker was heard over the API, by its connection; raises like `write_job_beat`."""
    await redis.hset(WORKER_WAYS, worker_id, f"{connection}:{count}")


async def forget_way(redis: Redis, worker_id: str) -> None:
    """Note that nothing is heard of a worker any more, because its connection ended."""
    await redis.hdel(WORKER_WAYS, worker_id)
