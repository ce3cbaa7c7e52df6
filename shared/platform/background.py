"""Loops that run as long as their process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

RESTART_DELAY_S = 1.0
_CANCEL_INTERVAL_S = 0.1

Loop = Callable[[], Coroutine[Any, Any, None]]
T = TypeVar("T")


@asynccontextmanager
async def running(**loops: Loop) -> AsyncIterator[None]:
    """Run each loop while the block runs.

    A loop that fails is logged and started again, so that no process looks alive while one of its loops is
    gone.
    """
    tasks = [asyncio.create_task(_for_ever(name, loop), name=name) for name, loop in loops.items()]
    try:
        yield
    finally:
        await stop_all(tasks)


async def run_together(**loops: Loop) -> None:
    """Run loops as `running` does, until this task is cancelled."""
    async with running(**loops):
        await asyncio.Event().wait()


async def stop_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks repeatedly until each has ended.

    On Python 3.11, a cancellation gets lost if it arrives while redis-py sends a command. What a task raised
    is not reported.
    """
    all_of_them = list(tasks)
    while left := [task for task in all_of_them if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_INTERVAL_S)
    await asyncio.gather(*all_of_them, return_exceptions=True)


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even if the caller is cancelled meanwhile; raise the cancellation after that.

    Use it for clean-up when a process is told to stop. `work` needs a time limit of its own.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


async def _for_ever(name: str, loop: Loop) -> None:
    while True:
        try:
            await loop()
        except Exception:
            log.exception("background_loop_failed", loop=name)
        await asyncio.sleep(RESTART_DELAY_S)
