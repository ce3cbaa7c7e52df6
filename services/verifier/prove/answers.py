"""How soon workers answer dispatches, and how long an answer is worth waiting for.

A worker's window is three times the slowest of its newest answers, and at least 1 s. It ends a wait early
only while nothing speaks for a system that is slow as a whole. The rule is that of TCP's RACK (RFC 8985): a
dispatch counts as lost when another worker has answered one that was sent later. It counts as lost too when
no other worker owes an answer. While others owe answers as well, the longest window holds.

The times are those of the verifier's clock: from LiveKit's acceptance of the dispatch until the verifier has
read the worker's report. That is what waiting for an answer takes, the way of the report included.

Every function raises `redis.exceptions.RedisError` or `OSError`.
"""

from datetime import datetime
from typing import Final

from redis.asyncio import Redis

from shared.contracts.keys import ANSWERED, UNANSWERED, worker_answers_key

KEPT: Final = 50
KEPT_S: Final = 3600
# Fewer answers say nothing about what is usual.
FEWEST: Final = 10
FACTOR: Final = 3.0
# However quick a worker is as a rule, a busy host must not look like a dead one.
SHORTEST_S: Final = 1.0
# No attempt waits longer for a first answer.
OWED_S: Final = 20.0


async def expect_answer(
    redis: Redis, worker_id: str, dispatch: str, *, since: datetime, longest_s: float
) -> float:
    """Record that the worker owes an answer since this time; return its window in seconds."""
    key = worker_answers_key(worker_id)
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zadd(UNANSWERED, {f"{worker_id} {dispatch}": since.timestamp()})
        pipe.zremrangebyscore(UNANSWERED, "-inf", since.timestamp() - OWED_S)
        pipe.expire(UNANSWERED, int(OWED_S))
        pipe.lrange(key, 0, -1)
        answers = (await pipe.execute())[-1]
    return window_s([int(ms) / 1000 for ms in answers], longest_s=longest_s)


def window_s(answers: list[float], *, longest_s: float) -> float:
    """Return how long to wait for a worker that took so long before, in seconds."""
    if len(answers) < FEWEST:
        return longest_s
    return min(max(FACTOR * max(answers), SHORTEST_S), longest_s)


async def note_answer(
    redis: Redis, worker_id: str, dispatch: str, *, since: datetime, seconds: float
) -> None:
    """Record that the worker answered, and after how long."""
    key = worker_answers_key(worker_id)
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zrem(UNANSWERED, f"{worker_id} {dispatch}")
        pipe.zadd(ANSWERED, {worker_id: since.timestamp()}, gt=True)
        pipe.expire(ANSWERED, int(OWED_S))
        pipe.lpush(key, round(seconds * 1000))
        pipe.ltrim(key, 0, KEPT - 1)
        pipe.expire(key, KEPT_S)
        await pipe.execute()


async def expect_no_more(redis: Redis, worker_id: str, dispatch: str) -> None:
    """Record that nobody waits for this answer any more."""
    await redis.zrem(UNANSWERED, f"{worker_id} {dispatch}")


async def is_overdue(redis: Redis, worker_id: str, *, since: datetime) -> bool:
    """Return whether only this worker is slow, and not the system."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zrangebyscore(ANSWERED, since.timestamp(), "+inf")
        pipe.zrangebyscore(UNANSWERED, since.timestamp() - OWED_S, "+inf")
        overtook, owed = await pipe.execute()
    if any(str(other) != worker_id for other in overtook):
        return True
    return all(str(one).partition(" ")[0] == worker_id for one in owed)
