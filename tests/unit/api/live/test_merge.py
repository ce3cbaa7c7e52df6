"""One stream out of several: who waits for whom, and when it ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.api.live.merge import merged


async def those(*values: int, closed: list[int] | None = None) -> AsyncGenerator[int, None]:
    try:
        for value in values:
            yield value
    finally:
        if closed is not None:
            closed.append(values[0])


async def endless(given: list[int], closed: list[int]) -> AsyncGenerator[int, None]:
    try:
        while True:
            given.append(len(given))
            yield given[-1]
            await asyncio.sleep(0)
    finally:
        closed.append(-1)


async def failing() -> AsyncGenerator[int, None]:
    yield 1
    raise ValueError("of no use")


async def test_everything_comes_and_it_goes_on_when_another_one_ends() -> None:
    async with asyncio.timeout(10):
        found = [each async for each in merged(those(1, 2, 3), [those(10), those(20, 21)])]
    assert [each for each in found if each < 10] == [1, 2, 3]


async def test_it_ends_with_the_leading_one_and_closes_the_others() -> None:
    given: list[int] = []
    closed: list[int] = []
    async with asyncio.timeout(10):
        found = [each async for each in merged(those(100, 101), [endless(given, closed)])]
    assert {100, 101} <= set(found)
    assert closed == [-1]


async def test_who_stops_reading_closes_all_and_nobody_runs_ahead() -> None:
    given: list[int] = []
    closed: list[int] = []
    stream = merged(endless(given, closed), [those(7, closed=closed)])
    async with asyncio.timeout(10):
        await anext(stream)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(given) <= 3, "one taken, one that waits, one in the hand"
        await stream.aclose()
    assert sorted(closed) == [-1, 7]


async def test_what_one_raises_is_raised() -> None:
    stream = merged(endless([], []), [failing()])

    async def read() -> None:
        async for _ in stream:
            pass

    with pytest.raises(ValueError, match="of no use"):
        await asyncio.wait_for(read(), 10)
