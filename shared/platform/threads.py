"""Threads for what blocks and is ours: no name lookup ever takes one.

`asyncio.to_thread` uses the threads on which asyncio looks names up, for every client in the process. A
handful of names whose server is silent would hold up the queue, and the disk.
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
    """As `asyncio.to_thread`, on other threads."""
    context = contextvars.copy_context()
    call = partial(context.run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_OURS, call)
