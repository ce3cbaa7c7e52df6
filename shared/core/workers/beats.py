"""Job beats: twice a second, each agent's job shows that its event loop is running.

The beats stop if a job is killed, frozen or hung, or if its host is gone, while LiveKit lists its agent as
ACTIVE for another 20 s. Readers compare counts, never clocks.
"""

from redis.asyncio import Redis

from shared.contracts.keys import JOB_BEATS, job_beat_field

JOB_BEAT_INTERVAL_S = 0.5


async def write_job_beat(redis: Redis, session_id: str, attempt: int, count: int) -> None:
    """Write a beat of the job; raises `redis.exceptions.RedisError` or `OSError`."""
    await redis.hset(JOB_BEATS, job_beat_field(session_id, attempt), str(count))


async def forget_job(redis: Redis, session_id: str, attempt: int) -> None:
    """Remove the beats of a job that is over or known to be dead."""
    await redis.hdel(JOB_BEATS, job_beat_field(session_id, attempt))


async def read_job_beats(redis: Redis) -> dict[str, int]:
    """Return the count of every job that beats or has died silently, by its field (`job_beat_field`)."""
    beats = await redis.hgetall(JOB_BEATS)
    return {str(field): int(count) for field, count in beats.items()}
