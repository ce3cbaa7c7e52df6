"""Connections to SQLite that end what they have begun, although whoever waits for it is cancelled.

aiosqlite runs each step in a thread, and a task that is cancelled goes on without waiting for its step. So
it would read or write before its own last write has come through; and where it is a BEGIN or a ROLLBACK
that is not waited for, SQLAlchemy drops a connection which keeps the database locked for everybody.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

import aiosqlite

from shared.runtime.background import finish

T = TypeVar("T")

_ROWS_AT_ONCE: Final = 64  # as aiosqlite has it


def connect_sqlite(path: str, **options: Any) -> aiosqlite.Connection:
    """Return a connection that is opened when it is awaited. options: of `sqlite3.connect`."""
    connection = _Connection(lambda: sqlite3.connect(path, **options), _ROWS_AT_ONCE)
    connection._thread.daemon = True  # as SQLAlchemy does with those that it makes: no process waits for it
    return connection


class _Connection(aiosqlite.Connection):
    async def _execute(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        # A step has a time limit of its own: SQLite's, for a lock.
        return await finish(super()._execute(fn, *args, **options))  # type: ignore[no-untyped-call]
