"""Hints reach listeners, even after an outage of the server; without a server they raise nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from devstack.process import Process
from services.verifier.wake import Waker
from shared.platform.redis.client import connect_redis
from shared.platform.redis.hints import give_hint, hints
from tests.integration.background import in_background
from tests.support.sessions import until


@asynccontextmanager
async def listening(redis: Redis) -> AsyncIterator[list[str]]:
    heard: list[str] = []

    async def listen() -> None:
        async for session_id in hints(redis):
            heard.append(session_id)  # noqa: PERF401 - heard while the loop goes on

    async with in_background(listen()):
        yield heard


async def say_until_heard(redis: Redis, heard: list[str], session_id: str) -> None:
    async def told() -> bool:
        await give_hint(redis, session_id)
        return session_id in heard

    await until(told, what=f"the hint {session_id} is heard")


async def test_a_hint_names_its_session(redis: Redis) -> None:
    async with listening(redis) as heard:
        await say_until_heard(redis, heard, "s-1")


async def test_hints_are_heard_again_after_the_server_was_restarted(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url)
    async with listening(redis) as heard:
        await say_until_heard(redis, heard, "s-1")
        await server.stop()
        await give_hint(redis, "lost")
        await server.start()
        await say_until_heard(redis, heard, "s-2")
    assert "lost" not in heard
    await redis.aclose()


async def test_a_hint_without_a_server_is_lost_without_a_word(free_port: int) -> None:
    redis = connect_redis(f"redis://127.0.0.1:{free_port}/0")
    await give_hint(redis, "s-1")
    await redis.aclose()


async def test_a_hint_wakes_the_one_who_waits_for_that_session(redis: Redis) -> None:
    waker = Waker()
    async with in_background(waker.listen(redis)):
        with waker.waiting_for("s-1") as woken, waker.waiting_for("s-2") as other:

            async def awake() -> bool:
                await give_hint(redis, "s-1")
                return woken.is_set()

            await until(awake, what="the waiting one is woken")
            assert not other.is_set()
        assert not waker.wake("s-1")  # nobody waits any more
