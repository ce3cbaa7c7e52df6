"""Job beats: twice a second, each agent's job shows that its event loop is running.

The beats stop if a job is killed, frozen or hung, or if its host is gone, while LiveKit lists its agent as
ACTIVE for another 20 s. Readers compare counts, never clocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from shared.contracts.identifiers import SessionId
from shared.contracts.keys import JOB_BEATS, JOB_WORKERS, WORKER_WAYS, job_beat_field, job_fence_key
from shared.core.workers.fence import JOB_FENCE_TTL

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


# One round trip for what comes twice a second. KEYS: the hashes of beats and workers, and the attempt's job
# fence. ARGV: the field, the count, the worker's id or "", the job's id, and how long the fence stays, in ms.
_BEAT = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
local owner = redis.call('GET', KEYS[3])
if owner == ARGV[4] then redis.call('PEXPIRE', KEYS[3], ARGV[5])
elseif not owner then redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5]) end
"""


@dataclass(frozen=True)
class Beat:
    """One beat of a job; `count` grows. `worker_id` is the job's worker if the beat came over the API."""

    session_id: SessionId
    attempt: int
    job_id: str
    count: int
    worker_id: str | None = None


async def write_job_beats(redis: Redis, beats: Sequence[Beat]) -> None:
    """Write beats, which also keep the attempts for their jobs (`shared.core.workers.fence`).

    Raises `redis.exceptions.RedisError` or `OSError`.
    """
    kept_ms = JOB_FENCE_TTL // timedelta(milliseconds=1)
    async with redis.pipeline(transaction=False) as pipe:
        for beat in beats:
            field = job_beat_field(beat.session_id, beat.attempt)
            keys = (JOB_BEATS, JOB_WORKERS, job_fence_key(beat.session_id, beat.attempt))
            pipe.eval(
                _BEAT,
                len(keys),
                *keys,
                field,
                str(beat.count),
                beat.worker_id or "",
                beat.job_id,
                str(kept_ms),
            )
        await pipe.execute()


async def forget_job(redis: Redis, session_id: str, attempt: int) -> None:
    """Remove the beats of a job that is over or known to be dead."""
    field = job_beat_field(session_id, attempt)
    await redis.hdel(JOB_BEATS, field)
    await redis.hdel(JOB_WORKERS, field)


async def read_beats(redis: Redis) -> Beats:
    """Read all beats; raises like `write_job_beats`."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(JOB_BEATS)
        pipe.hgetall(JOB_WORKERS)
        pipe.hgetall(WORKER_WAYS)
        counts, workers, ways = await pipe.execute()
    return Beats({str(field): int(count) for field, count in counts.items()}, workers, ways)


async def note_way(redis: Redis, worker_id: str, *, connection: str, count: int) -> None:
    """Note that a worker was heard over the API, by its connection; raises like `write_job_beats`."""
    await redis.hset(WORKER_WAYS, worker_id, f"{connection}:{count}")


async def forget_way(redis: Redis, worker_id: str) -> None:
    """Note that nothing is heard of a worker any more, because its connection ended."""
    await redis.hdel(WORKER_WAYS, worker_id)
