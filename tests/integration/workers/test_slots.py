"""A slot is promised to one session at a time, however many ask, until the worker serves the session."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.contracts.keys import slot_workers_key, slots_key
from shared.core.admission import slots
from shared.core.admission.slots import PROMISE_MS, STALE_MS, release, reserve, take
from shared.core.workers.placement import Candidate
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE
from tests.support.sessions import until


async def ask(redis: Redis, session_id: str, *, free: int = 1, served: tuple[str, ...] = ()) -> bool:
    return await reserve(redis, "agent", [session_id], free=free, served=served) == 1


async def test_as_many_slots_are_promised_as_are_free(redis: Redis) -> None:
    assert [await ask(redis, f"s-{number}", free=3) for number in range(5)] == [True] * 3 + [False] * 2


async def test_where_nothing_is_free_nothing_is_promised(redis: Redis) -> None:
    assert not await ask(redis, "s-1", free=0)


async def test_of_many_who_ask_at_once_as_many_are_promised_a_slot_as_there_are(redis_url: str) -> None:
    # Each with a connection of its own, as dispatchers in processes of their own have.
    clients = [connect_redis(redis_url) for _ in range(20)]
    asked = [ask(client, f"s-{number}", free=7) for number, client in enumerate(clients * 5)]
    assert sum(await asyncio.gather(*asked)) == 7
    for client in clients:
        await client.aclose()


async def test_of_several_who_ask_together_the_first_get_the_slots(redis: Redis) -> None:
    assert await reserve(redis, "agent", ["s-1", "s-2", "s-3"], free=2, served=()) == 2
    assert sorted(await redis.zrange(slots_key("agent"), 0, -1)) == ["s-1", "s-2"]
    # The third session's promise goes to the sessions before it.
    assert await reserve(redis, "agent", ["s-0", "s-1", "s-2"], free=2, served=()) == 2
    assert sorted(await redis.zrange(slots_key("agent"), 0, -1)) == ["s-0", "s-1"]
    assert await reserve(redis, "agent", [], free=2, served=()) == 0


async def test_who_asks_again_keeps_its_one_promise(redis: Redis) -> None:
    assert [await ask(redis, "s-1") for _ in range(3)] == [True] * 3
    assert not await ask(redis, "s-2")


async def test_a_promise_to_somebody_who_is_not_to_have_it_any_more_is_gone(redis: Redis) -> None:
    assert await ask(redis, "s-1", free=1)
    assert not await ask(redis, "s-1", free=0)
    assert await ask(redis, "s-2", free=1)


async def test_agent_names_have_promises_of_their_own(redis: Redis) -> None:
    assert await reserve(redis, "agent", ["s-1"], free=1, served=())
    assert await reserve(redis, "billing", ["s-2"], free=1, served=())


async def test_a_served_session_does_not_count_against_the_slots_that_are_free_beside_it(
    redis: Redis,
) -> None:
    assert await ask(redis, "s-1", free=2)
    assert await ask(redis, "s-2", free=1, served=("s-1",))
    assert not await ask(redis, "s-3", free=1, served=("s-1",))


async def test_a_promise_that_is_kept_still_stands_against_an_older_reading_of_the_registry(
    redis: Redis,
) -> None:
    assert await ask(redis, "s-1", free=1)
    assert not await ask(redis, "s-2", free=0, served=("s-1",))
    # Read before the worker had taken the job of s-1: the one free slot is that of s-1.
    assert not await ask(redis, "s-3", free=1, served=())


async def test_a_promise_that_is_kept_is_soon_forgotten(redis: Redis) -> None:
    await ask(redis, "s-1")
    before = await redis.zscore(slots_key("agent"), "s-1")
    await ask(redis, "s-2", served=("s-1",))
    after = await redis.zscore(slots_key("agent"), "s-1")
    assert before is not None
    assert after is not None
    assert before - after > PROMISE_MS - STALE_MS - 1_000
    # Reading again does not extend it.
    await ask(redis, "s-2", served=("s-1",))
    assert await redis.zscore(slots_key("agent"), "s-1") == after


async def test_a_promise_that_is_not_kept_ends_by_itself(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PROMISE_MS", 50)
    assert await ask(redis, "shorter", free=2)
    monkeypatch.undo()
    assert await ask(redis, "longer", free=2)

    async def free_again() -> bool:
        return await ask(redis, "next", free=2)

    await until(free_again, what="the slot is free again")
    assert not await ask(redis, "one more", free=2)


async def test_nothing_is_left_behind_when_nobody_asks_any_more(redis: Redis) -> None:
    await ask(redis, "s-1")
    assert 0 < await redis.pttl(slots_key("agent")) <= PROMISE_MS


async def test_a_promise_that_is_taken_back_frees_the_slot(redis: Redis) -> None:
    await ask(redis, "s-1")
    await release(redis, "agent", "s-1")
    assert await ask(redis, "s-2")
    await release(redis, "agent", "never promised")


async def test_thousands_of_served_sessions_are_no_matter(redis: Redis) -> None:
    served = tuple(f"served-{number}" for number in range(20_000))
    assert await ask(redis, "s-1", served=served)


async def test_a_redis_that_is_away_is_an_error_and_no_refusal(free_port: int) -> None:
    away = connect_redis(f"redis://127.0.0.1:{free_port}/0")
    with pytest.raises(UNREACHABLE):
        await ask(away, "s-1")
    with pytest.raises(UNREACHABLE):
        await release(away, "agent", "s-1")
    await away.aclose()


def a_candidate(worker_id: str, *, jobs: int = 0, most: int = 2, rank: int = 0) -> Candidate:
    return Candidate(worker_id, f"at-{worker_id}", rank=rank, active_jobs=jobs, max_jobs=most)


async def place(redis: Redis, session_id: str, *candidates: Candidate, free: int | None = None) -> str | None:
    slots = sum(one.max_jobs - one.active_jobs for one in candidates) if free is None else free
    slot = await take(redis, "agent", session_id, free=slots, served=(), candidates=candidates)
    return None if slot is None else slot.worker_id or "any"


async def test_the_least_busy_worker_is_chosen_and_promises_are_jobs(redis: Redis) -> None:
    fleet = a_candidate("a", jobs=1, most=4), a_candidate("b", most=4)
    chosen = [await place(redis, f"s-{number}", *fleet) for number in range(8)]
    assert chosen[0] == "b"
    assert (chosen.count("a"), chosen.count("b"), chosen[7]) == (3, 4, None)


async def test_of_many_who_choose_at_once_nobody_gets_a_slot_twice(redis_url: str) -> None:
    clients = [connect_redis(redis_url) for _ in range(10)]
    fleet = a_candidate("a", most=3), a_candidate("b", most=3)
    asked = [place(client, f"s-{number}", *fleet) for number, client in enumerate(clients)]
    chosen = await asyncio.gather(*asked)
    assert [chosen.count(one) for one in ("a", "b", None)] == [3, 3, 4]
    for client in clients:
        await client.aclose()


async def test_a_lower_rank_goes_before_a_less_busy_worker_while_it_has_a_slot(redis: Redis) -> None:
    fleet = a_candidate("a", jobs=1), a_candidate("b", rank=1)
    assert [await place(redis, f"s-{number}", *fleet) for number in range(3)] == ["a", "b", "b"]


async def test_who_asks_again_gives_its_first_worker_back(redis: Redis) -> None:
    assert await place(redis, "s-1", a_candidate("a", most=1)) == "a"
    assert await place(redis, "s-1", a_candidate("a", most=1, rank=4), a_candidate("b", most=1)) == "b"
    assert await place(redis, "s-2", a_candidate("a", most=1), free=2) == "a"


async def test_a_slot_of_a_worker_without_an_address_is_anybodys(redis: Redis) -> None:
    assert await place(redis, "s-1", a_candidate("a", most=1), free=2) == "a"
    assert await place(redis, "s-2", a_candidate("a", most=1), free=2) == "any"
    assert await place(redis, "s-3", a_candidate("a", most=1), free=2) is None


async def test_a_promise_that_is_taken_back_frees_its_worker(redis: Redis) -> None:
    assert await place(redis, "s-1", a_candidate("a", most=1)) == "a"
    await release(redis, "agent", "s-1")
    assert await redis.hgetall(slot_workers_key("agent")) == {}
    assert await place(redis, "s-2", a_candidate("a", most=1)) == "a"
