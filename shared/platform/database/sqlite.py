"""Connections to SQLite that change threads as seldom as possible, and write in turn.

aiosqlite runs each call on a thread of the connection, and a change of threads costs more than most of our
statements. Its own cursor makes four for a statement (make, execute, fetch, close), and the BEGIN one more.
Here a statement with its BEGIN and its first rows is one.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import aiosqlite
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only
from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_random

# How long a connection waits for another connection's write.
BUSY_S: Final = 10.0
# The execution option that tells how a transaction begins; None: each statement is a transaction of its own.
BEGIN: Final = "rollcall_begin"
WRITING: Final = "BEGIN IMMEDIATE"
READING: Final = "BEGIN"
# The rows that come with the statement itself. The rest of a long answer is fetched as it is read.
_FIRST_ROWS: Final = 500

T = TypeVar("T")


def make_engine(url: str, *, pool_size: int, **options: Any) -> AsyncEngine:
    """Return an engine for the file of a URL, whose folder is made; `options` are SQLAlchemy's."""
    parsed = make_url(url)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        parsed,
        pool_size=pool_size,
        connect_args={"timeout": BUSY_S, "async_creator_fn": _connect},
        **options,
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


class Turns:
    """Lets the writers of this process write one after the other, as SQLite makes them do anyway.

    SQLite itself would make them ask again and again, with pauses of up to 0.1 s, and in no order.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the turn to write; raises `PoolTimeoutError` if none comes in time."""
        try:
            async with asyncio.timeout(BUSY_S):
                await self._lock.acquire()
        except TimeoutError:
            raise PoolTimeoutError(f"other writers of this process took longer than {BUSY_S:g} s") from None
        try:
            yield
        finally:
            self._lock.release()


class SqliteConnection(aiosqlite.Connection):
    """A connection whose transaction begins with its first statement, in the same call on the thread."""

    _to_begin: str | None = None
    _begun = False

    def begin(self, statement: str | None) -> None:
        """Begin a transaction by this statement, once its first statement is executed.

        None: each statement is a transaction of its own.
        """
        self._to_begin = statement

    def cursor(self) -> "SqliteCursor":  # type: ignore[override]
        """Return a new cursor; this takes no call on the thread."""
        return SqliteCursor(self)

    async def commit(self) -> None:
        """Commit the transaction, if there is one."""
        await self._end(self._conn.commit)

    async def rollback(self) -> None:
        """Roll the transaction back, if there is one."""
        await self._end(self._conn.rollback)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on the connection's thread, after the BEGIN that is due."""
        begin, self._to_begin = self._to_begin, None
        if begin is None:
            return await self._on_thread(function, *args)
        # Before the call: whoever is cancelled meanwhile leaves a transaction that begins later.
        self._begun = True
        return await self._on_thread(_after, partial(self._conn.execute, begin), function, *args)

    async def _end(self, function: Callable[[], None]) -> None:
        self._to_begin = None
        if self._begun:
            await self._on_thread(function)
            self._begun = False

    async def _on_thread(self, function: Callable[..., T], *args: Any) -> T:
        return cast("T", await self._execute(function, *args))  # type: ignore[no-untyped-call]


class SqliteCursor:
    """What SQLAlchemy's asyncio adapter needs of a cursor. A statement is one call on the thread."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    arraysize: int = 1

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        # The cursor that has more rows.
        self._more: sqlite3.Cursor | None = None

    async def __aenter__(self) -> Self:
        """Return the cursor, which has nothing to be prepared."""
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement, and fetch its first rows."""
        self._take(await self._connection.call(self._run, statement, parameters))

    async def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row."""
        self._take((await self._connection.call(self._connection._conn.executemany, statement, rows), []))

    def _run(self, statement: str, parameters: Sequence[Any]) -> tuple[sqlite3.Cursor, list[Any]]:
        cursor = self._connection._conn.execute(statement, parameters)
        return cursor, cursor.fetchmany(_FIRST_ROWS) if cursor.description else []

    def _take(self, answer: tuple[sqlite3.Cursor, list[Any]]) -> None:
        cursor, self._rows = answer
        self.description, self.rowcount, self.lastrowid = (
            cursor.description,
            cursor.rowcount,
            cursor.lastrowid,
        )
        self._more = cursor if len(self._rows) == _FIRST_ROWS else None

    async def fetchall(self) -> list[Any]:
        """Return the rows that have not been fetched."""
        rows, self._rows = self._rows, []
        if self._more is not None:
            rows += await self._connection.call(self._more.fetchall)
            self._more = None
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows, up to `size`."""
        size = size or self.arraysize
        if self._more is not None and len(self._rows) < size:
            more = await self._connection.call(self._more.fetchmany, max(_FIRST_ROWS, size))
            self._more = self._more if more else None
            self._rows += more
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def fetchone(self) -> Any:
        """Return the next row; None after the last one."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Forget the rows that have not been fetched."""
        if self._more is not None:
            await self._connection.call(self._more.close)
            self._more = None


def _after(first: Callable[[], object], function: Callable[..., T], *args: Any) -> T:
    first()
    return function(*args)


def _connect(database: str, **options: Any) -> SqliteConnection:
    connection = SqliteConnection(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
    # As SQLAlchemy does it with aiosqlite's: a process that ends does not wait for its connections.
    connection._thread.daemon = True
    return connection


@retry(
    retry=retry_if_exception_message(match="database is locked"),
    wait=wait_random(0.005, 0.05),
    stop=stop_after_delay(BUSY_S),
    sleep=lambda seconds: await_only(asyncio.sleep(seconds)),
    reraise=True,
)
def _enable_wal(cursor: DBAPICursor) -> None:
    """Here SQLite ignores its own timeout if two connections open a new file at the same time."""
    cursor.execute("PRAGMA journal_mode=WAL")


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN is deferred: two writers would deadlock instead of waiting in turn.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enable_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Erased text is overwritten with zeros, even in pages that an index no longer uses.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.begin(connection.get_execution_options().get(BEGIN, READING))
