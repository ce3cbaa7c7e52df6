"""The database behind one asynchronous engine: SQLite on one machine, PostgreSQL in production."""

import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

from prometheus_client import Counter, Histogram
from sqlalchemy import Connection, CursorResult, Executable, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from shared.contracts.database_url import is_postgres
from shared.contracts.text import clean, cleaned
from shared.platform.database import sqlite
from shared.platform.database.errors import DATABASE_ERRORS, Kind
from shared.platform.database.postgres import COMMAND_TIMEOUT_S, Postgres
from shared.platform.database.state import DatabaseState

# A connection that was in use so recently counts as alive.
RESTED_S = 1.0

_RETURNED_AT = "rollcall_returned_at"
_AFTER_COMMIT = "rollcall_after_commit"

_SECONDS = Histogram(
    "database_session_seconds",
    "How long database sessions were in use, by kind (read, write); each write is one transaction.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_FAILURES = Counter(
    "database_failures_total",
    "Failed database sessions, by fault: transient (down or busy) or deployment (the operator must fix it).",
    ["kind", "fault"],
)
_STATEMENTS = Counter("database_statements_total", "SQL statements that the database has answered.")
for _kind in ("read", "write"):
    for _fault in (Kind.TRANSIENT, Kind.DEPLOYMENT):
        _FAILURES.labels(_kind, _fault)


class Database:
    """Sessions for reading and for writing. Build it inside the loop that uses it; `close()` it."""

    def __init__(
        self, url: str, *, pool_size: int = 10, command_timeout_s: float | None = COMMAND_TIMEOUT_S
    ) -> None:
        """`pool_size` is the largest number of connections to PostgreSQL.

        They are opened when needed, and then kept. `command_timeout_s` is how long PostgreSQL may take for a
        statement; None means no limit.
        """
        self._postgres = Postgres(url, command_timeout_s=command_timeout_s) if is_postgres(url) else None
        self._engine = (
            _create_sqlite(url, pool_size) if self._postgres is None else _create(self._postgres, pool_size)
        )
        self.state = DatabaseState(self._engine.sync_engine)
        event.listen(self._engine.sync_engine, "after_cursor_execute", lambda *_: _STATEMENTS.inc())
        # A transaction costs two more messages with PostgreSQL, and for reading only a snapshot needs one.
        self._autocommitting = self._with("AUTOCOMMIT", begin=None)
        self._snapshots = self._sessions("REPEATABLE READ", begin=sqlite.READING)
        self._pooled_readers = self._sessions(None, begin=sqlite.READING)
        self._readers = self._sessions("AUTOCOMMIT", begin=None)
        self._writers = self._sessions(None, begin=sqlite.WRITING)
        # PostgreSQL lets several write at the same time.
        self._turns = sqlite.Turns() if self.is_sqlite else None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations and for anything that sessions can't do."""
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a session for reading. The data may change between two of its statements."""
        with self.observed("read"):
            readers = self._pooled_readers if await self.is_pooled() else self._readers
            async with readers() as db:
                yield db

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Open a session for reading that sees one state of the data: that of its first statement.

        It is one transaction; settings made with SET LOCAL end with it.
        """
        with self.observed("read"):
            async with self._snapshots() as db:
                yield db

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction. It is committed when the block ends, and rolled back if the block raises."""
        with self.observed("write"):
            async with self._turn(), self._writers() as db:
                async with db.begin():
                    yield db
                for told in db.info.pop(_AFTER_COMMIT, ()):
                    told()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncSession]:
        """Open a session on PostgreSQL in which each statement is a transaction of its own.

        Behind a pooler the session is one transaction, because only a transaction keeps a connection.
        """
        with self.observed("write"):
            if not await self.is_pooled():
                async with self._readers() as db:
                    yield db
                return
        async with self.write() as db:
            yield db

    async def change(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one UPDATE, DELETE or INSERT as a transaction, and return how many rows it changed."""
        if await self.is_pooled():
            async with self.write() as db:
                return await changed(db, statement, parameters)
        with self.observed("write"):
            # This takes one message; BEGIN and COMMIT would make it three.
            async with self._turn(), self._autocommitting.connect() as connection:
                return (await connection.execute(statement, parameters)).rowcount

    @contextmanager
    def observed(self, kind: str) -> Iterator[None]:
        """Measure the database work of the block (`read` or `write`), and record its failures."""
        try:
            with _SECONDS.labels(kind).time():
                yield
        except DATABASE_ERRORS as error:
            fault = self.state.failed(error)
            if fault.kind is not Kind.DATA:
                _FAILURES.labels(kind, fault.kind).inc()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def is_pooled(self) -> bool:
        """Return whether a pooler is between us and PostgreSQL."""
        return self._postgres is not None and await self._postgres.is_pooled()

    def _sessions(self, isolation: str | None, *, begin: str | None) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self._with(isolation, begin=begin), expire_on_commit=False)

    def _with(self, isolation: str | None, *, begin: str | None) -> AsyncEngine:
        """Return the engine with PostgreSQL's isolation level, or with SQLite's way to begin."""
        if self.is_sqlite:
            return self._engine.execution_options(**{sqlite.BEGIN: begin})
        if isolation is None:
            return self._engine
        return self._engine.execution_options(isolation_level=isolation)

    def _turn(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.turn()


def after_commit(db: AsyncSession, told: Callable[[], None]) -> None:
    """Call `told` after the transaction of `Database.write` commits.

    If it is rolled back, `told` is not called.
    """
    db.info.setdefault(_AFTER_COMMIT, []).append(told)


async def changed(
    db: AsyncSession, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> int:
    """Run an UPDATE, DELETE or INSERT, and return how many rows it changed."""
    result = cast("CursorResult[Any]", await db.execute(statement, parameters))
    return result.rowcount


def _create(postgres: Postgres, pool_size: int) -> AsyncEngine:
    engine = postgres.make_engine(
        pool_size=pool_size,
        max_overflow=0,  # opening a connection costs more than using it
        pool_timeout=5,
        hide_parameters=True,  # errors are logged, and the log must not contain what people said
        json_serializer=_to_json,
    )
    event.listen(engine.sync_engine, "before_cursor_execute", _clean_texts, retval=True)
    event.listen(engine.sync_engine, "checkin", _note_return)
    event.listen(engine.sync_engine, "checkout", partial(_check_after_a_rest, engine.dialect))
    return engine


def _create_sqlite(url: str, pool_size: int) -> AsyncEngine:
    engine = sqlite.make_engine(url, pool_size=pool_size, hide_parameters=True, json_serializer=_to_json)
    event.listen(engine.sync_engine, "before_cursor_execute", _clean_texts, retval=True)
    return engine


def _to_json(value: object) -> str:
    return json.dumps(cleaned(value), allow_nan=False)


def _clean_texts(
    _: Connection, __: DBAPICursor, statement: str, parameters: Any, *___: object
) -> tuple[str, Any]:
    """Clean the text that is written or searched for: SQLite would accept texts that PostgreSQL refuses."""
    if isinstance(parameters, dict):
        return statement, {name: _fit(value) for name, value in parameters.items()}
    if isinstance(parameters, list):  # one statement for many rows
        return statement, [tuple(map(_fit, row)) if isinstance(row, tuple) else row for row in parameters]
    return statement, tuple(map(_fit, parameters))


def _fit(value: Any) -> Any:
    return clean(value) if type(value) is str else value


def _note_return(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_RETURNED_AT] = time.monotonic()


def _check_after_a_rest(
    dialect: Dialect, connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """Check with the server whether an idle connection still works; if not, the pool takes another one.

    SQLAlchemy's own `pool_pre_ping` checks each time: three more messages for every transaction.
    """
    if time.monotonic() - entry.info.get(_RETURNED_AT, math.inf) < RESTED_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error
