"""Promises of worker slots, so that no two sessions are sent to the same slot.

A heartbeat shows a slot as free until the worker has taken the job, and until then other dispatchers see it
too. So the dispatcher has a slot promised to a session before it dispatches. The promise counts against the
free slots until a heartbeat lists the session, or for five seconds. Redis keeps a sorted set for each agent
name: session ids by the time at which their promise ends. Beside it, a hash has the worker whose slot it is,
where one is chosen.

Every function raises `redis.exceptions.RedisError` or `OSError`; callers then dispatch without a promise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from shared.contracts.keys import slot_workers_key, slots_key
from shared.core.workers.placement import Candidate

# LiveKit finds a worker within 5 s or not at all.
PROMISE_MS = 5_000
# For this long, dispatchers may still use a fleet that was read before the job's heartbeat, so the promise
# still counts.
STALE_MS = 1_000

# KEYS: the promises, and their workers. Drops the promises that are over, and what is left without one.
_CLEAN = """
local key, workers = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function drop(session)
    redis.call('ZREM', key, session)
    redis.call('HDEL', workers, session)
end
for _, over in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now)) do drop(over) end
"""

# ARGV: free slots, ms that a promise lasts, stale ms, how many sessions ask, these, and those served.
_RESERVE = (
    _CLEAN
    + """
local free, lasts, stale, asking = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
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
for i = 5 + granted, 4 + asking do drop(ARGV[i]) end
if granted > 0 then redis.call('PEXPIRE', key, lasts) end
return granted
"""
)

# ARGV: free slots, ms that a promise lasts, stale ms, the session, how many workers may be chosen, of each
# its id, rank, jobs and most jobs, and then the sessions served. Returns whether there is a slot, and whose.
_TAKE = (
    _CLEAN
    + """
local free, lasts, stale = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local asks, candidates = ARGV[4], tonumber(ARGV[5])
local served = {}
for i = 6 + 4 * candidates, #ARGV do served[ARGV[i]] = true end
local to_others, of_worker = 0, {}
for _, promised in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if served[promised] then
        redis.call('ZADD', key, 'XX', 'LT', now + stale, promised)
    elseif promised ~= asks then
        to_others = to_others + 1
        local worker = redis.call('HGET', workers, promised)
        if worker then of_worker[worker] = (of_worker[worker] or 0) + 1 end
    end
end
if free <= to_others then
    drop(asks)
    return {0, ''}
end
local chosen, best, least = '', nil, nil
for i = 6, 2 + 4 * candidates, 4 do
    local id, rank, most = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
    local jobs = tonumber(ARGV[i + 2]) + (of_worker[id] or 0)
    local busy = jobs / most
    if jobs < most and (not best or rank < best or (rank == best and busy < least)) then
        chosen, best, least = id, rank, busy
    end
end
redis.call('ZADD', key, now + lasts, asks)
redis.call('PEXPIRE', key, lasts)
if chosen == '' then
    redis.call('HDEL', workers, asks)
else
    redis.call('HSET', workers, asks, chosen)
    redis.call('PEXPIRE', workers, lasts)
end
return {1, chosen}
"""
)


@dataclass(frozen=True)
class Slot:
    """A promise: of the slot of the worker that was chosen, or of any (None)."""

    worker_id: str | None


async def reserve(
    redis: Redis, agent_name: str, session_ids: Sequence[str], *, free: int, served: Collection[str]
) -> int:
    """Promise each of the sessions, in this order, one of `free` slots; return how many got a promise.

    A session with a promise keeps it, unless there is no longer a slot for it in this order. `free` and
    `served` must come from the same reading of the registry.
    """
    args: list[str | int] = [free, PROMISE_MS, STALE_MS, len(session_ids), *session_ids, *served]
    return int(await redis.register_script(_RESERVE)(keys=_keys(agent_name), args=args))


async def take(
    redis: Redis,
    agent_name: str,
    session_id: str,
    *,
    free: int,
    served: Collection[str],
    candidates: Sequence[Candidate],
) -> Slot | None:
    """Promise the session one of `free` slots, and choose whose; None if all are promised to others.

    The worker is the least busy one of the lowest rank that has a slot left, the promises counted; of two
    alike the first. `free`, `served` and `candidates` are what one reading of the registry says.
    """
    args: list[str | int] = [free, PROMISE_MS, STALE_MS, session_id, len(candidates)]
    for one in candidates:
        args += [one.worker_id, one.rank, one.active_jobs, one.max_jobs]
    granted, worker_id = await redis.register_script(_TAKE)(keys=_keys(agent_name), args=[*args, *served])
    return Slot(str(worker_id) or None) if granted else None


async def release(redis: Redis, agent_name: str, session_id: str) -> None:
    """Withdraw the promise: the session has no dispatch, and will not get one for now."""
    promises, workers = _keys(agent_name)
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zrem(promises, session_id)
        pipe.hdel(workers, session_id)
        await pipe.execute()


def _keys(agent_name: str) -> list[str]:
    return [slots_key(agent_name), slot_workers_key(agent_name)]
