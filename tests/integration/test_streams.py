"""Consumer groups on a real Redis: nothing published is skipped, whoever dies and whatever is emptied."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from cli.process import Process
from shared.contracts.events import AgentReady, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DEAD_LETTERS_STREAM
from shared.runtime import streams
from shared.runtime.redis import connect_redis
from shared.runtime.streams import ConsumerGroup, Entry, dead_letter, publish
from tests.integration.background import in_background
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


async def _batches(group: ConsumerGroup) -> AsyncIterator[Sequence[Entry]]:
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
    [(_, fields)] = await redis.xrange(DEAD_LETTERS_STREAM)
    assert fields == {
        "stream": STREAM,
        "entry_id": "5-1",
        "reason": "malformed: x",
        "event": "not json",
    }


async def test_a_frozen_server_holds_a_publisher_only_so_long(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url, timeout_s=3)
    await redis.ping()
    server.freeze()
    started = time.monotonic()
    with pytest.raises(streams.UNREACHABLE):
        await put(redis, 1)
    assert time.monotonic() - started < 6, "a call that timed out was made once more"
    server.thaw()
    await redis.aclose()
