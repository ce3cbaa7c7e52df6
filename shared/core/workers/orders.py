"""Orders of operators to agent workers: take no new jobs, take them again, or end after the last call.

The API stores an order in Redis beside the worker's heartbeat, and the worker reads it with its next
heartbeat. The worker's process remembers the order, and its heartbeats report it. So losing the key loses
nothing: neither an emptied Redis nor a new id from LiveKit makes a cordoned worker take jobs.

Every function raises `redis.exceptions.RedisError` or `OSError`.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from shared.contracts.keys import order_key
from shared.contracts.workers import WorkerOrder

# A worker reads an order within a second, unless it is frozen or cut off from Redis.
ORDER_TTL = timedelta(days=1)

# A drain can't be taken back. ARGV: the order, the seconds that it stays, and the order that stays for good.
_GIVE = """
if redis.call('GET', KEYS[1]) == ARGV[3] then return ARGV[3] end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""


async def give_order(redis: Redis, worker_id: str, order: WorkerOrder) -> WorkerOrder:
    """Store an order for the worker; return the valid order, which is another one only if it is `drain`."""
    args: list[str | int] = [order, int(ORDER_TTL.total_seconds()), WorkerOrder.DRAIN]
    stands = await redis.register_script(_GIVE)(keys=[order_key(worker_id)], args=args)
    return WorkerOrder(stands)


async def read_order(redis: Redis, worker_id: str) -> WorkerOrder | None:
    """Return the newest order to the worker, or None if there is none."""
    return as_order(await redis.get(order_key(worker_id)))


def as_order(value: Any) -> WorkerOrder | None:
    """Return the order that Redis holds; None for nothing, and for what a later version may order."""
    with suppress(ValueError):
        return None if value is None else WorkerOrder(value)
    return None
