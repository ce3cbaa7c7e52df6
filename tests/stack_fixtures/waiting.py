"""Wait for a condition, never for time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

POLL_S = 0.02


async def eventually(condition: Callable[[], bool | Awaitable[object]], timeout: float = 30.0) -> None:
    """Return once `condition` is true; raises `TimeoutError`. The limit is for failures, so it is long."""
    async with asyncio.timeout(timeout):
        while True:
            outcome = condition()
            if await outcome if inspect.isawaitable(outcome) else outcome:
                return
            await asyncio.sleep(POLL_S)
