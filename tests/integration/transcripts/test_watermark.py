"""The watermark marks a turn as stored only when it is."""

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devstack.process import Process
from shared.contracts.keys import stored_key
from shared.core.transcripts.watermark import STORED_TTL, publish_stored, read_stored
from shared.platform.redis.client import connect_redis
from tests.integration.rows import a_turn


async def test_what_was_published_is_stored_and_nothing_else(redis: Redis) -> None:
    turns = [a_turn("s-1", seq, job_id="AJ_1") for seq in (1, 2, 7, 8, 9, 40, 1_000)]
    await publish_stored(redis, turns)
    stored = await read_stored(redis, "s-1", job_id="AJ_1", attempt=1)
    assert [seq for seq in range(-1, 20_000) if stored.has(seq)] == [1, 2, 7, 8, 9, 40, 1_000]


async def test_what_is_published_later_adds_to_it(redis: Redis) -> None:
    await publish_stored(redis, [a_turn("s-1", 200, job_id="AJ_1")])
    await publish_stored(redis, [a_turn("s-1", 1, job_id="AJ_1")])
    stored = await read_stored(redis, "s-1", job_id="AJ_1", attempt=1)
    assert stored.has(1)
    assert stored.has(200)
    assert not stored.has(2)


async def test_turns_of_two_jobs_that_bear_the_same_number_are_told_apart(redis: Redis) -> None:
    await publish_stored(redis, [a_turn("s-1", 5, attempt=2, job_id="AJ_2")])
    assert (await read_stored(redis, "s-1", job_id="AJ_2", attempt=2)).has(5)
    assert not (await read_stored(redis, "s-1", job_id="AJ_1", attempt=1)).has(5)
    assert not (await read_stored(redis, "s-2", job_id="AJ_2", attempt=2)).has(5)


async def test_without_a_job_the_attempt_tells_writers_apart(redis: Redis) -> None:
    await publish_stored(redis, [a_turn("s-1", 5, attempt=1)])
    assert (await read_stored(redis, "s-1", job_id=None, attempt=1)).has(5)
    assert not (await read_stored(redis, "s-1", job_id=None, attempt=2)).has(5)


async def test_of_a_session_without_turns_nothing_is_stored(redis: Redis) -> None:
    assert not (await read_stored(redis, "s-1", job_id="AJ_1", attempt=1)).has(1)
    await publish_stored(redis, [])
    assert await redis.keys("*") == []


async def test_it_goes_away_by_itself(redis: Redis) -> None:
    await publish_stored(redis, [a_turn("s-1", 1, job_id="AJ_1")])
    left_s = await redis.ttl(stored_key("s-1", "AJ_1"))
    assert 0 < left_s <= STORED_TTL.total_seconds()


async def test_one_key_that_redis_refuses_does_not_keep_the_others_from_being_told(redis: Redis) -> None:
    await redis.rpush(stored_key("s-1", "AJ_1"), "not a bitmap")
    await publish_stored(redis, [a_turn("s-1", 1, job_id="AJ_1"), a_turn("s-2", 1, job_id="AJ_2")])
    assert (await read_stored(redis, "s-2", job_id="AJ_2", attempt=1)).has(1)


async def test_a_redis_that_is_away_is_an_error(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    await server.stop()
    redis = connect_redis(url)
    with pytest.raises((RedisError, OSError)):
        await publish_stored(redis, [a_turn("s-1", 1)])
    await redis.aclose()
