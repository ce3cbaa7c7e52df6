"""Run something in the background of a test, and make sure that it ends."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def stop(task: "asyncio.Task[Any]") -> None:
    """Cancel until it is done: on Python 3.11 a cancellation can get lost in `asyncio.wait_for`."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Run `work` while the block runs, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await stop(task)
