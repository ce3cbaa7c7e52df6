"""Threads for our own blocking code, which no name lookup can occupy.

`asyncio.to_thread` uses the threads on which asyncio looks up names for every client in the process. A few
names whose servers are silent would then delay enqueueing and writing to the disk.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

MOST: Final = 16

P = ParamSpec("P")
R = TypeVar("R")

_OURS: Final = ThreadPoolExecutor(max_workers=MOST, thread_name_prefix="ours")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Like `asyncio.to_thread`, but on other threads."""
    context = contextvars.copy_context()
    call = partial(context.run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_OURS, call)
