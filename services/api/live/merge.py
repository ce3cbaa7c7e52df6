"""One stream out of several."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypeVar

from shared.platform.background import stop_all

T = TypeVar("T")


class _Over:
    """Stands for the end of a stream."""


_OVER: Final = _Over()


async def merged(
    leading: AsyncGenerator[T, None], others: Sequence[AsyncGenerator[T, None]]
) -> AsyncGenerator[T, None]:
    """Yield what each of them yields, in turn, until `leading` ends; raises what one of them raises.

    Each goes on only once what it yielded last was taken, so a slow reader needs no memory.
    """
    sources = (leading, *others)
    coming = {asyncio.create_task(_next(source)): source for source in sources}
    try:
        while True:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source, each = coming.pop(task), task.result()
                if not isinstance(each, _Over):
                    yield each
                    coming[asyncio.create_task(_next(source))] = source
                elif source is leading:
                    return
    finally:
        await stop_all(coming)
        for source in sources:
            await source.aclose()


async def _next(source: AsyncGenerator[T, None]) -> T | _Over:
    return await anext(source, _OVER)
