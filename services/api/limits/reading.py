"""Database reads of callers, kept apart from all other work.

They have connections of their own, a limited share for each project, and a time limit.

A start of a session never waits for a reader, and a reader waits for its own project first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from services.api.errors.problems import Problem
from services.api.limits.limited_reads import TookTooLong, limited_snapshot
from shared.platform.background import stop_all
from shared.platform.database.database import Database

# Places for all projects together, and for one.
MOST_READERS: Final = 6
MOST_OF_A_PROJECT: Final = 3
# A search for a word in every second of millions of turns is not useful.
TIMEOUT_S: Final = 10.0
# The longest wait for a place. Most reads take milliseconds.
WAIT_S: Final = 5.0
RETRY_AFTER_S: Final = 5
_LOOK_EVERY_S: Final = 0.5

T = TypeVar("T")


class Reading:
    """Hands out the places. `database` is only for reading, and has a connection for each place."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._places = asyncio.Semaphore(MOST_READERS)
        self._shares: dict[str, _Share] = {}

    @asynccontextmanager
    async def place(self, project: str, *, patient: bool = False) -> AsyncIterator[None]:
        """Wait for a place, forever if `patient`; raises `Problem` if none becomes free in time."""
        wait_s = None if patient else WAIT_S
        share = self._shares.setdefault(project, _Share())
        share.users += 1
        try:
            async with AsyncExitStack() as held:
                await _enter(held, share.places, wait_s, _too_many_reads)
                await _enter(held, self._places, wait_s, _reading_busy)
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[project]

    @asynccontextmanager
    async def snapshot(self, project: str, *, patient: bool = False) -> AsyncIterator[AsyncSession]:
        """Like `Database.snapshot`, but in a place and with the time limit; raises `Problem`."""
        async with self.place(project, patient=patient):
            try:
                async with limited_snapshot(self.database, seconds=TIMEOUT_S) as db:
                    yield db
            except TookTooLong:
                detail = f"reading this took more than {TIMEOUT_S:g} s; ask for less of it"
                raise Problem(503, "read_too_long", detail) from None


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run the work as long as its caller is connected.

    Raises `ClientDisconnect`. uvicorn itself would let it run on.
    """
    task = asyncio.create_task(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_EVERY_S)
            if done:
                return task.result()
            if await request.is_disconnected():
                raise ClientDisconnect
    finally:
        await stop_all([task])


class _Share:
    def __init__(self) -> None:
        self.places = asyncio.Semaphore(MOST_OF_A_PROJECT)
        self.users = 0


async def _enter(
    held: AsyncExitStack, places: asyncio.Semaphore, wait_s: float | None, refusal: Callable[[], Problem]
) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await held.enter_async_context(places)
        return
    raise refusal()


def _too_many_reads() -> Problem:
    return Problem(
        429,
        "too_many_reads",
        f"this project reads {MOST_OF_A_PROJECT} things at once already, and may read no more",
        headers={"Retry-After": str(RETRY_AFTER_S)},
        retry_after=RETRY_AFTER_S,
    )


def _reading_busy() -> Problem:
    detail = "other projects read so much that there is no room; sessions can be started all the same"
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Problem(503, "reading_busy", detail, headers=headers, retry_after=RETRY_AFTER_S)
