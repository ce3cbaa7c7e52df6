"""The verifier notices a job whose beats stop; an outage of Redis does not look like dead jobs."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from devstack.process import Process
from services.verifier.liveness import FORGOTTEN_AFTER_S, Liveness
from shared.contracts.identifiers import SessionId
from shared.core.workers.beats import Beat, forget_job, read_beats, write_job_beats
from shared.platform.redis.client import connect_redis
from tests.integration.background import in_background
from tests.support.sessions import until


class Hand:
    """A monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def liveness(redis: Redis, hand: Hand) -> Liveness:
    return Liveness(redis, silence_s=2.5, clock=hand)


async def go_on(liveness: Liveness, hand: Hand, *, seconds: float) -> None:
    for _ in range(int(seconds / 0.25)):
        hand.time += 0.25
        await liveness.read()


async def test_a_job_is_silent_when_its_count_stands_still(
    liveness: Liveness, redis: Redis, hand: Hand
) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await write_job_beats(redis, [Beat(SessionId("s-2"), 1, "AJ_1", 1)])
    await liveness.read()
    await go_on(liveness, hand, seconds=2.5)
    await write_job_beats(redis, [Beat(SessionId("s-2"), 1, "AJ_1", 2)])
    await go_on(liveness, hand, seconds=0.25)
    assert liveness.is_silent("s-1", 1, is_ready=True)
    assert not liveness.is_silent("s-2", 1, is_ready=True)
    assert not liveness.is_silent("s-1", 2, is_ready=True), "another attempt's job"


async def test_a_job_that_is_not_ready_yet_may_be_silent_for_longer(
    liveness: Liveness, redis: Redis, hand: Hand
) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await liveness.read()
    await go_on(liveness, hand, seconds=5.75)
    assert not liveness.is_silent("s-1", 1, is_ready=False)
    await go_on(liveness, hand, seconds=0.5)
    assert liveness.is_silent("s-1", 1, is_ready=False)


async def test_a_job_that_said_goodbye_is_not_silent(liveness: Liveness, redis: Redis, hand: Hand) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await liveness.read()
    await forget_job(redis, "s-1", 1)
    await go_on(liveness, hand, seconds=5)
    assert not liveness.is_silent("s-1", 1, is_ready=True)


async def test_a_pause_of_this_process_is_not_a_silence_of_the_jobs(
    liveness: Liveness, redis: Redis, hand: Hand
) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await liveness.read()
    hand.time += 30
    await liveness.read()
    assert not liveness.is_silent("s-1", 1, is_ready=True)
    assert not liveness.steady_for(1)
    await go_on(liveness, hand, seconds=2.75)
    assert liveness.is_silent("s-1", 1, is_ready=True)
    assert liveness.steady_for(1)


async def test_a_redis_that_lost_its_data_is_not_a_silence_of_the_jobs(
    liveness: Liveness, redis: Redis, hand: Hand
) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 7)])
    await liveness.read()
    await go_on(liveness, hand, seconds=2)
    assert liveness.steady_for(1)
    await redis.flushdb()
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 7)])
    await go_on(liveness, hand, seconds=1)
    assert not liveness.steady_for(2)
    assert not liveness.is_silent("s-1", 1, is_ready=True)


async def test_what_a_dead_job_leaves_is_cleared_away(liveness: Liveness, redis: Redis, hand: Hand) -> None:
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await liveness.read()
    await go_on(liveness, hand, seconds=FORGOTTEN_AFTER_S)
    assert "s-1:1" in (await read_beats(redis)).counts
    await go_on(liveness, hand, seconds=1)
    assert (await read_beats(redis)).counts == {}


async def test_each_silence_is_told_once(redis: Redis) -> None:
    told: list[str] = []

    async def tell(session_id: str) -> None:
        told.append(session_id)
        if session_id == "s-1":
            raise RuntimeError("of no consequence")

    liveness = Liveness(redis, silence_s=0.3)
    for session_id in ("s-1", "s-2"):
        await write_job_beats(redis, [Beat(SessionId(session_id), 1, "AJ_1", 1)])
    async with in_background(liveness.run(tell)):

        async def both() -> bool:
            return len(told) >= 2

        await until(both, what="both silences are told")
        await write_job_beats(redis, [Beat(SessionId("s-3"), 1, "AJ_1", 1)])

        async def third() -> bool:
            return "s-3" in told

        await until(third, what="the third is told")
    assert sorted(told) == ["s-1", "s-2", "s-3"]


@pytest.fixture
async def frozen(own_redis: tuple[str, Process]) -> AsyncIterator[tuple[Redis, Process]]:
    url, process = own_redis
    client = connect_redis(url, timeout_s=1)
    yield client, process
    process.thaw()
    await client.aclose()


@pytest.mark.product_limits
async def test_a_redis_that_was_frozen_is_not_a_silence_of_the_jobs(
    frozen: tuple[Redis, Process], hand: Hand
) -> None:
    redis, process = frozen
    liveness = Liveness(redis, silence_s=2.5, clock=hand)
    await write_job_beats(redis, [Beat(SessionId("s-1"), 1, "AJ_1", 1)])
    await liveness.read()
    process.freeze()
    await liveness.read()
    hand.time += 3
    process.thaw()

    async def readable() -> bool:
        await liveness.read()
        return liveness.steady_for(0)

    await until(readable, what="Redis can be read again")
    assert not liveness.is_silent("s-1", 1, is_ready=True)
    await go_on(liveness, hand, seconds=2.75)
    assert liveness.is_silent("s-1", 1, is_ready=True)
