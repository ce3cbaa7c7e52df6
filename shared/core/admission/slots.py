"""Promises of worker slots, so that no two sessions are sent to the same slot.

A heartbeat shows a slot as free until the worker has taken the job, and until then other dispatchers see it
too. So the dispatcher has a slot promised to a session before it dispatches. The promise counts against the
free slots until a heartbeat lists the session, or for five seconds. Redis keeps a sorted set for each agent
name: session ids by the time at which their promise ends.

Every function raises `redis.exceptions.RedisError` or `OSError`; callers then dispatch without a promise.
"""

from collections.abc import Collection, Sequence

from redis.asyncio import Redis

from shared.contracts.keys import slots_key

# LiveKit finds a worker within 5 s or not at all.
PROMISE_MS = 5_000
# For this long, dispatchers may still use a fleet that was read before the job's heartbeat, so the promise
# still counts.
STALE_MS = 1_000

# ARGV: free slots, ms that a promise lasts, stale ms, number of asking sessions, these, and those served.
_RESERVE = """
local key, free, lasts, stale, asking = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
local asks, served = {}, {}
for i = 5, 4 + asking do asks[ARGV[i]] = true end
for i = 5 + asking, #ARGV do served[ARGV[i]] = true end
local to_others = 0
for _, promised in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if served[promised] then
        redis.call('ZADD', key, 'XX', 'LT', now + stale, promised)
    elseif not asks[promised] then
        to_others = to_others + 1
    end
end
local granted = math.max(0, math.min(asking, free - to_others))
for i = 5, 4 + granted do redis.call('ZADD', key, now + lasts, ARGV[i]) end
for i = 5 + granted, 4 + asking do redis.call('ZREM', key, ARGV[i]) end
if granted > 0 then redis.call('PEXPIRE', key, lasts) end
return granted
"""


async def reserve(
    redis: Redis, agent_name: str, session_ids: Sequence[str], *, free: int, served: Collection[str]
) -> int:
    """Promise each of the sessions, in this order, one of `free` slots; return how many got a promise.

    A session with a promise keeps it, unless there is no longer a slot for it in this order. `free` and
    `served` must come from the same reading of the registry.
    """
    script = redis.register_script(_RESERVE)
    args: list[str | int] = [free, PROMISE_MS, STALE_MS, len(session_ids), *session_ids, *served]
    return int(await script(keys=[slots_key(agent_name)], args=args))


async def release(redis: Redis, agent_name: str, session_id: str) -> None:
    """Withdraw the promise: the session has no dispatch, and will not get one for now."""
    await redis.zrem(slots_key(agent_name), session_id)
