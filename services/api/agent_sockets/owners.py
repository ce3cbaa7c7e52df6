"""Whose worker an id is, among workers that reach Rollcall over the API.

LiveKit's ids of workers are random. The first who beats under an id has it, and nobody else may beat, report
or end under it.
"""

from datetime import timedelta

from redis.asyncio import Redis

from shared.contracts.keys import last_beat_key, worker_owner_key

OWNER_TTL = timedelta(days=1)


async def is_owner(redis: Redis, worker_id: str, owner: str) -> bool:
    """Take the id for its first owner; return whether it is this owner's.

    The id of a worker that beats over Redis itself is nobody's here. Raises `redis.exceptions.RedisError` or
    `OSError`.
    """
    key = worker_owner_key(worker_id)
    has = await redis.getex(key, ex=OWNER_TTL)
    if has is None and not await redis.exists(last_beat_key(worker_id)):
        await redis.set(key, owner, nx=True, ex=OWNER_TTL)
        has = await redis.get(key)
    return bool(has == owner)
