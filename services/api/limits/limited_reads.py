"""Read with a time limit.

A read that takes longer, or that nobody waits for any more, is also stopped in the database. PostgreSQL has a
time limit for statements, and the driver tells it when a task is cancelled. SQLite has neither, so this
module interrupts it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.platform.background import stop_all
from shared.platform.database.database import Database
from shared.platform.database.errors import fault_of

_LOOK_EVERY_S: Final = 0.1
_STOPPED: Final = ("57014", "SQLITE_INTERRUPT")


class TookTooLong(Exception):
    """The read was stopped at its time limit."""


@asynccontextmanager
async def limited_snapshot(database: Database, *, seconds: float) -> AsyncIterator[AsyncSession]:
    """Like `Database.snapshot`.

    Raises `TookTooLong` after the limit, which on SQLite is for the whole block, on PostgreSQL for each
    statement.
    """
    async with database.snapshot() as db:
        try:
            if database.is_sqlite:
                async with _interrupted(db, after_s=seconds):
                    yield db
            else:
                await db.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
                yield db
        except DBAPIError as error:
            if fault_of(error).state not in _STOPPED:
                raise
            raise TookTooLong from None


@asynccontextmanager
async def _interrupted(db: AsyncSession, *, after_s: float) -> AsyncIterator[None]:
    """Interrupt the session's connection once the time is over or the running task is cancelled."""
    raw: Any = (await (await db.connection()).get_raw_connection()).driver_connection
    owner = asyncio.current_task()
    time = asyncio.get_running_loop().time
    ends = time() + after_s

    async def interrupt() -> None:
        while True:
            await asyncio.sleep(min(_LOOK_EVERY_S, after_s))
            if time() >= ends or (owner is not None and owner.cancelling()):
                with suppress(ValueError, sqlite3.Error):  # the connection is closed by now
                    await raw.interrupt()

    interrupting = asyncio.create_task(interrupt())
    try:
        yield
    finally:
        await stop_all([interrupting])
