"""Job beats: that the event loop of each agent's job turns, told twice a second.

A job that is killed, frozen or hung, or whose host is gone, beats no more, while LiveKit goes on listing
its agent as ACTIVE for about 20 s. A reader compares counts, never clocks.
"""

from redis.asyncio import Redis

from shared.contracts.keys import JOB_BEATS, job_beat_field

JOB_BEAT_INTERVAL_S = 0.5


async def write_job_beat(redis: Redis, session_id: str, attempt: int, count: int) -> None:
    """Tell that the job lives; raises `redis.exceptions.RedisError` or `OSError`."""
    await redis.hset(JOB_BEATS, job_beat_field(session_id, attempt), str(count))


async def forget_job(redis: Redis, session_id: str, attempt: int) -> None:
    """The job is over, or known to be dead."""
    await redis.hdel(JOB_BEATS, job_beat_field(session_id, attempt))


async def read_job_beats(redis: Redis) -> dict[str, int]:
    """Every job that beats, or has died without a word: its field (`job_beat_field`) and its count."""
    beats = await redis.hgetall(JOB_BEATS)
    return {str(field): int(count) for field, count in beats.items()}
