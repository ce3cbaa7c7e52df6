"""One stream out of several."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from shared.platform.background import stop_all

T = TypeVar("T")


async def merged(
    leading: AsyncGenerator[T, None], others: Sequence[AsyncGenerator[T, None]]
) -> AsyncGenerator[T, None]:
    """Yield what each of them yields, until `leading` ends; raises what one of them raises.

    Each goes on only once what it yielded last was taken, so a slow reader needs no memory.
    """
    given: asyncio.Queue[T] = asyncio.Queue(1)

    async def give(source: AsyncGenerator[T, None]) -> None:
        async with aclosing(source):
            async for each in source:
                await given.put(each)

    led = asyncio.create_task(give(leading))
    going = {led, *(asyncio.create_task(give(other)) for other in others)}
    try:
        while not (led.done() and given.empty()):
            taking = asyncio.create_task(given.get())
            going.add(taking)
            done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {taking}:
                task.result()
            if taking in done:
                yield taking.result()
            else:
                await stop_all([taking])
                going.discard(taking)
    finally:
        await stop_all(going)
