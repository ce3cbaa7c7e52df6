"""Ctrl-C: the first one stops in order, the second one at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

EXIT_INTERRUPTED: Final = 130


def run_until_interrupted(
    work: Coroutine[Any, Any, int], *, hurry: Callable[[], None] = lambda: None, said: Callable[[], None]
) -> int:
    """Run `work` and return its exit code.

    The first SIGINT or SIGTERM calls `said` and cancels `work`, whose clean-up runs. The second one calls
    `hurry` and ends this process at once.
    """
    return asyncio.run(_run(work, hurry, said))


async def _run(work: Coroutine[Any, Any, int], hurry: Callable[[], None], said: Callable[[], None]) -> int:
    task = asyncio.create_task(work)
    interrupted = False

    def on_signal() -> None:
        nonlocal interrupted
        if interrupted:
            hurry()
            os._exit(EXIT_INTERRUPTED)
        interrupted = True
        said()
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return EXIT_INTERRUPTED
