"""Rollcall finds out by itself whether LiveKit delivers addressed dispatches."""

from redis.asyncio import Redis

from shared.contracts.keys import circuit_pause_key
from shared.core.workers.placing import (
    CIRCUIT,
    DROPPED,
    IGNORED,
    may_place,
    note_arrived,
    note_by_name,
    note_ignored,
    note_lost,
)


async def lost_and_by_name(redis: Redis, worker_id: str) -> str | None:
    await note_lost(redis, worker_id)
    return await note_by_name(redis, worker_id)


async def test_a_server_of_which_nothing_is_known_is_tried_but_not_with_a_last_chance(redis: Redis) -> None:
    assert await may_place(redis, last_chance=False)
    assert not await may_place(redis, last_chance=True)
    await note_arrived(redis)
    assert await may_place(redis, last_chance=True)


async def test_a_server_that_ignores_addresses_is_asked_by_name_until_one_arrives(redis: Redis) -> None:
    await note_arrived(redis)
    assert await note_ignored(redis) == IGNORED
    assert await note_ignored(redis) is None, "only the first time it is news"
    assert not await may_place(redis, last_chance=False)
    await redis.delete(circuit_pause_key(CIRCUIT))
    assert not await may_place(redis, last_chance=True)
    assert [await may_place(redis, last_chance=False) for _ in range(3)] == [True, False, False]
    assert await note_arrived(redis)
    assert await may_place(redis, last_chance=False)


async def test_a_worker_that_takes_by_name_what_never_arrives_by_address_shows_it(redis: Redis) -> None:
    assert await note_by_name(redis, "w-1") is None, "it had no addressed dispatch"
    assert await lost_and_by_name(redis, "w-1") is None, "once may be the worker's fault"
    assert await note_by_name(redis, "w-1") is None, "nor does it prove anything twice"
    assert await lost_and_by_name(redis, "w-2") == DROPPED
    assert not await may_place(redis, last_chance=False)


async def test_an_addressed_dispatch_that_arrives_refutes_it(redis: Redis) -> None:
    await lost_and_by_name(redis, "w-1")
    await note_lost(redis, "w-2")
    await note_arrived(redis)
    assert await note_by_name(redis, "w-2") is None
    assert await lost_and_by_name(redis, "w-2") is None
    assert await may_place(redis, last_chance=True)


async def test_a_trial_in_vain_begins_a_longer_pause(redis: Redis) -> None:
    await note_ignored(redis)
    key = circuit_pause_key(CIRCUIT)
    first = await redis.pttl(key)
    await redis.delete(key)
    assert await may_place(redis, last_chance=False)
    await note_lost(redis, "w-1")
    assert await redis.pttl(key) > first * 1.5
