"""Consumer groups on a real Redis skip nothing, whichever consumer dies and even if Redis is emptied."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from devstack.process import Process
from shared.contracts.events import AgentReady, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DEAD_LETTERS_STREAM
from shared.platform.redis import stream_upkeep, streams
from shared.platform.redis.client import connect_redis
from shared.platform.redis.stream_upkeep import group_state, trim
from shared.platform.redis.streams import (
    FIRST_READ_COUNT,
    Appetite,
    ConsumerGroup,
    Entry,
    dead_letter,
    publish,
)
from tests.integration.background import in_background
from tests.support.sessions import until
from tests.support.stream_entries import entries_of
from tests.unit.making import T0

STREAM = "tests:stream"
PATIENCE_S = 20.0


async def put(redis: Redis, *attempts: int) -> None:
    envelopes = [
        wrap(AgentReady(attempt=n), session_id=SessionId("s-1"), source="tests", time=T0) for n in attempts
    ]
    await publish(redis, STREAM, envelopes)


def attempts_in(batch: Sequence[Entry]) -> list[int]:
    return [entry.envelope().data["attempt"] for entry in batch]


def consumer(redis: Redis, name: str = "a") -> ConsumerGroup:
    return ConsumerGroup(redis, stream=STREAM, group="group", consumer=name)


async def take(group: ConsumerGroup, wanted: int, *, acknowledge: bool = True) -> list[int]:
    """The first `wanted` entries that this consumer is given."""
    got: list[int] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(_batches(group)) as batches:
        async for batch in batches:
            got += attempts_in(batch)
            if acknowledge:
                await group.acknowledge(batch)
            if len(got) >= wanted:
                return got
    return got


async def _batches(group: ConsumerGroup) -> AsyncGenerator[Sequence[Entry], None]:
    async for batch in group.batches():
        yield batch


def lost_pending() -> float:
    return REGISTRY.get_sample_value("stream_lost_pending_total", {"stream": STREAM, "group": "group"}) or 0


async def pending(redis: Redis) -> int:
    found = await redis.xpending(STREAM, "group")
    return int(found["pending"])


async def test_what_was_published_before_the_group_exists_is_read(redis: Redis) -> None:
    await put(redis, 1, 2, 3)
    assert await take(consumer(redis), 3) == [1, 2, 3]


async def test_what_is_published_later_is_read_in_order(redis: Redis) -> None:
    group = consumer(redis)
    taking = asyncio.create_task(take(group, 5))
    for number in range(1, 6):
        await put(redis, number)
    assert await taking == [1, 2, 3, 4, 5]


async def test_what_was_acknowledged_does_not_come_again(redis: Redis) -> None:
    await put(redis, 1, 2)
    assert await take(consumer(redis), 2) == [1, 2]
    assert await pending(redis) == 0
    await put(redis, 3)
    assert await take(consumer(redis), 1) == [3]


async def test_after_a_restart_a_consumer_gets_its_own_backlog_first(redis: Redis) -> None:
    await put(redis, 1, 2)
    assert await take(consumer(redis), 2, acknowledge=False) == [1, 2]
    await put(redis, 3)
    assert await take(consumer(redis), 3) == [1, 2, 3]
    assert await pending(redis) == 0


async def test_two_consumers_of_a_group_share_and_repeat_nothing(redis: Redis) -> None:
    await put(redis, *range(1, 6))
    assert await take(consumer(redis, "a"), 5) == [1, 2, 3, 4, 5]
    await put(redis, 6)
    assert await take(consumer(redis, "b"), 1) == [6]


async def test_what_a_dead_consumer_left_is_taken_over_by_another(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(redis, 1, 2)
    await take(consumer(redis, "dead"), 2, acknowledge=False)
    monkeypatch.setattr(streams, "CLAIM_IDLE_MS", 1)
    assert await take(consumer(redis, "heir"), 2) == [1, 2]
    assert await pending(redis) == 0


async def test_what_a_consumer_that_stops_has_not_handled_is_taken_over_at_once(redis: Redis) -> None:
    await put(redis, 1, 2, 3)
    stopping = consumer(redis)
    assert await take(stopping, 3, acknowledge=False) == [1, 2, 3]
    await stopping.give_back()
    assert await take(consumer(redis, "b"), 3) == [1, 2, 3]
    assert await pending(redis) == 0
    await stopping.give_back()  # nothing is left to give


async def test_what_a_living_consumer_works_on_is_not_taken_from_it(redis: Redis) -> None:
    await put(redis, 1)
    await take(consumer(redis, "busy"), 1, acknowledge=False)
    await put(redis, 2)
    assert await take(consumer(redis, "other"), 1) == [2]


async def test_a_group_that_was_emptied_away_is_made_again(redis: Redis) -> None:
    group = consumer(redis)
    got: asyncio.Queue[int] = asyncio.Queue()

    async def consume() -> None:
        async for batch in group.batches():
            await group.acknowledge(batch)
            for number in attempts_in(batch):
                got.put_nowait(number)

    async with in_background(consume()), asyncio.timeout(PATIENCE_S):
        await put(redis, 1)
        assert await got.get() == 1
        await redis.flushdb()
        await put(redis, 2)
        assert await got.get() == 2


async def test_a_consumer_waits_out_a_server_that_restarts(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url)
    await put(redis, 1)
    group = consumer(redis)
    assert await take(group, 1) == [1]
    await server.stop()
    taking = asyncio.create_task(take(group, 1))
    await asyncio.sleep(0)
    await server.start()
    await put(redis, 2)
    assert await taking == [2]
    await redis.aclose()


async def test_an_acknowledgement_that_is_lost_is_no_error(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url)
    await server.stop()
    await consumer(redis).acknowledge([Entry("1-1", {})])
    await redis.aclose()


async def test_what_was_cut_off_while_pending_is_counted_and_not_handed_out(redis: Redis) -> None:
    before = lost_pending()
    await put(redis, 1, 2)
    await take(consumer(redis), 2, acknowledge=False)
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    assert await take(consumer(redis), 1) == [2]
    assert await pending(redis) == 0
    assert lost_pending() == before + 1


async def test_what_a_dead_consumer_lost_is_counted_by_its_heir(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lost_pending()
    await put(redis, 1, 2)
    await take(consumer(redis, "dead"), 2, acknowledge=False)
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    monkeypatch.setattr(streams, "CLAIM_IDLE_MS", 1)
    assert await take(consumer(redis, "heir"), 1) == [2]
    assert lost_pending() == before + 1


async def test_a_dead_letter_says_where_it_came_from_and_why(redis: Redis) -> None:
    await dead_letter(redis, STREAM, Entry("5-1", {"event": "not json"}), "malformed: x")
    [(_, fields)] = await entries_of(redis, DEAD_LETTERS_STREAM)
    assert fields == {
        "stream": STREAM,
        "entry_id": "5-1",
        "reason": "malformed: x",
        "event": "not json",
    }


@pytest.mark.product_limits
async def test_a_frozen_server_holds_a_publisher_only_so_long(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url, timeout_s=1)
    await redis.ping()
    server.freeze()
    with pytest.raises(streams.UNREACHABLE):
        await put(redis, 1)
    server.thaw()

    async def published() -> int:
        return int(await redis.xlen(STREAM))

    await until(published, what="it carries out what it was sent while it was frozen")
    assert await published() == 1, "a call that timed out was made once more"
    await redis.aclose()


# --- Trimming streams, and measuring them ------------------------------------


def in_an_hour() -> int:
    """In milliseconds, as a stream counts."""
    return int(time.time() * 1000) + 3_600_000


async def left(redis: Redis) -> list[int]:
    return attempts_in([Entry(entry_id, fields) for entry_id, fields in await entries_of(redis, STREAM)])


async def deliver(redis: Redis, group: str, entries: int, *, acknowledged: int) -> None:
    """Have a group take its next entries, and acknowledge the first of them."""
    answer: Any = await redis.xreadgroup(group, "c", {STREAM: ">"}, count=entries)
    [(_, taken)] = answer
    for entry_id, _ in taken[:acknowledged]:
        await redis.xack(STREAM, group, entry_id)


async def test_only_what_every_group_has_acknowledged_is_trimmed(redis: Redis) -> None:
    for group in ("fast", "slow"):
        await redis.xgroup_create(STREAM, group, id="0", mkstream=True)
    await put(redis, *range(1, 9))
    await deliver(redis, "fast", 6, acknowledged=6)
    assert await trim(redis, STREAM, now_ms=in_an_hour(), keep_ms=0) == 0
    await deliver(redis, "slow", 5, acknowledged=3)
    assert await trim(redis, STREAM, now_ms=in_an_hour(), keep_ms=0) == 3
    assert await left(redis) == [4, 5, 6, 7, 8]


async def test_what_was_acknowledged_out_of_order_waits_for_what_is_pending_before_it(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "group", id="0", mkstream=True)
    await put(redis, 1, 2, 3)
    answer: Any = await redis.xreadgroup("group", "c", {STREAM: ">"})
    [(_, taken)] = answer
    await redis.xack(STREAM, "group", taken[0][0], taken[2][0])
    await trim(redis, STREAM, now_ms=in_an_hour(), keep_ms=0)
    assert await left(redis) == [2, 3]


async def test_what_is_handled_stays_a_while_for_those_who_follow_without_a_group(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "group", id="0", mkstream=True)
    await put(redis, 1, 2)
    await deliver(redis, "group", 2, acknowledged=2)
    await trim(redis, STREAM, now_ms=int(time.time() * 1000), keep_ms=3_600_000)
    assert await left(redis) == [1, 2]


async def test_a_stream_that_nobody_reads_is_not_trimmed(redis: Redis) -> None:
    await put(redis, 1)
    assert await trim(redis, STREAM, now_ms=in_an_hour(), keep_ms=0) == 0


async def test_a_consumer_empties_the_stream_that_it_has_handled(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CLAIM_INTERVAL_S", 0)
    monkeypatch.setattr(stream_upkeep, "KEEP_MS", -3_600_000)
    await put(redis, 1, 2, 3)
    group = consumer(redis)

    async def consume() -> None:
        async for batch in group.batches():
            await group.acknowledge(batch)

    async def emptied() -> bool:
        return int(await redis.xlen(STREAM)) == 0

    async with in_background(consume()):
        await until(emptied, what="the stream is empty")
        await put(redis, 4)
        await until(emptied, what="the stream is empty again")
    assert await pending(redis) == 0


async def test_the_state_of_a_group_is_known(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "group", id="0", mkstream=True)
    await put(redis, *range(1, 8))
    await deliver(redis, "group", 3, acknowledged=1)
    state = await group_state(redis, STREAM, "group", now_ms=in_an_hour())
    assert state is not None
    assert (state.backlog, state.lost_unread) == (6, 0)
    assert state.oldest_age_s == pytest.approx(3_600, abs=60)
    await deliver(redis, "group", 10, acknowledged=10)
    state = await group_state(redis, STREAM, "group", now_ms=in_an_hour())
    assert state is not None
    assert state.backlog == 2
    assert await group_state(redis, STREAM, "stranger", now_ms=in_an_hour()) is None


async def test_what_was_cut_off_before_it_was_read_is_noticed(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "group", id="0", mkstream=True)
    await put(redis, *range(1, 11))
    await deliver(redis, "group", 4, acknowledged=4)
    await redis.xtrim(STREAM, maxlen=3, approximate=False)
    state = await group_state(redis, STREAM, "group", now_ms=in_an_hour())
    assert state is not None
    assert state.lost_unread == 3
    await deliver(redis, "group", 3, acknowledged=3)
    state = await group_state(redis, STREAM, "group", now_ms=in_an_hour())
    assert state is not None
    assert (state.lost_unread, state.backlog) == (0, 0)


async def test_what_was_not_acknowledged_can_be_asked_for_again(redis: Redis) -> None:
    await put(redis, 1)
    group = consumer(redis)
    async with asyncio.timeout(PATIENCE_S), aclosing(_batches(group)) as batches:
        first = await anext(batches)
        group.read_again()
        assert attempts_in(await anext(batches)) == attempts_in(first) == [1]


def test_large_entries_lessen_the_appetite_and_only_full_batches_raise_it() -> None:
    appetite = Appetite(max_count=200, max_bytes=1_000_000)
    small, large = Entry("1-1", {"event": "x" * 100}), Entry("1-1", {"event": "x" * 100_000})
    for _ in range(5):
        appetite.learn([small])
    assert appetite.count == FIRST_READ_COUNT
    for _ in range(5):
        appetite.learn([small] * appetite.count)
    assert appetite.count == 200
    appetite.learn([large] * 200)
    assert appetite.count == 9
    appetite.learn([Entry("1-1", {"event": "x" * 5_000_000})] * 9)
    assert appetite.count == 1
