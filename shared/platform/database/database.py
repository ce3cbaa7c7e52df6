"""The database: SQLite on one machine, PostgreSQL for real, behind one asynchronous engine."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from prometheus_client import Counter, Histogram
from sqlalchemy import Connection, CursorResult, Executable, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only
from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_random

from shared.contracts.database_url import is_postgres
from shared.contracts.text import clean, cleaned
from shared.platform.database.errors import DATABASE_ERRORS, Kind
from shared.platform.database.postgres import COMMAND_TIMEOUT_S, Postgres
from shared.platform.database.state import DatabaseState

# A connection that was in use so shortly ago is taken to live still.
RESTED_S = 1.0

# So long a connection to SQLite waits for another's write.
BUSY_S = 10.0

_WRITE = "rollcall_write"
_RETURNED_AT = "rollcall_returned_at"
_AFTER_COMMIT = "rollcall_after_commit"

_SECONDS = Histogram(
    "database_session_seconds",
    "How long database sessions were in use, by kind (read, write); a write is one transaction.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_FAILURES = Counter(
    "database_failures_total",
    "Database sessions that failed, by fault: transient (away or busy) or deployment (it has to be mended).",
    ["kind", "fault"],
)
for _kind in ("read", "write"):
    for _fault in (Kind.TRANSIENT, Kind.DEPLOYMENT):
        _FAILURES.labels(_kind, _fault)


class Database:
    """Sessions for reading and for writing. Build it inside the loop that uses it; `close()` it."""

    def __init__(
        self, url: str, *, pool_size: int = 10, command_timeout_s: float | None = COMMAND_TIMEOUT_S
    ) -> None:
        """`pool_size`: connections at most, on PostgreSQL; opened when they are needed, and then kept.

        `command_timeout_s`: how long PostgreSQL may take over a statement; None for ever.
        """
        self._postgres = Postgres(url, command_timeout_s=command_timeout_s) if is_postgres(url) else None
        self._engine = (
            _create_sqlite(url, pool_size) if self._postgres is None else _create(self._postgres, pool_size)
        )
        self.state = DatabaseState(self._engine.sync_engine)
        # A transaction costs PostgreSQL two more messages, and is of use to a snapshot only.
        self._autocommitting = self._isolated("AUTOCOMMIT")
        self._snapshots = async_sessionmaker(self._isolated("REPEATABLE READ"), expire_on_commit=False)
        self._readers = async_sessionmaker(self._autocommitting, expire_on_commit=False)
        self._pooled_readers = async_sessionmaker(self._engine, expire_on_commit=False)
        writers = self._engine.execution_options(**{_WRITE: True})
        self._writers = async_sessionmaker(writers, expire_on_commit=False)

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations and for what only it can do."""
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """True where the database is the embedded one."""
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that changes nothing; what it sees may change between two statements."""
        with self.observed("read"):
            readers = self._pooled_readers if await self._is_pooled() else self._readers
            async with readers() as db:
                yield db

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A session that changes nothing and sees one state, that of its first statement.

        It is one transaction, and what is set with SET LOCAL ends with it.
        """
        with self.observed("read"):
            async with self._snapshots() as db:
                yield db

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self.observed("write"):
            async with self._writers() as db:
                async with db.begin():
                    yield db
                for told in db.info.pop(_AFTER_COMMIT, ()):
                    told()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncSession]:
        """A session, on PostgreSQL, each statement of which is a transaction of its own.

        Behind a pooler all are one: it takes a transaction to keep a connection for a statement.
        """
        with self.observed("write"):
            if not await self._is_pooled():
                async with self._readers() as db:
                    yield db
                return
        async with self.write() as db:
            yield db

    async def change(self, statement: Executable) -> int:
        """Run one UPDATE, DELETE or INSERT as a transaction of its own; returns how many rows it touched."""
        if self.is_sqlite or await self._is_pooled():
            async with self.write() as db:
                return await changed(db, statement)
        with self.observed("write"):
            # One message, where BEGIN and COMMIT would make three of it.
            async with self._autocommitting.connect() as connection:
                return (await connection.execute(statement)).rowcount

    @contextmanager
    def observed(self, kind: str) -> Iterator[None]:
        """Measure what the block asks of the database (`read` or `write`), and note what fails."""
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

    async def _is_pooled(self) -> bool:
        return self._postgres is not None and await self._postgres.is_pooled()

    def _isolated(self, level: str) -> AsyncEngine:
        # What SQLite reads in a transaction is a snapshot always.
        return self._engine if self.is_sqlite else self._engine.execution_options(isolation_level=level)


def after_commit(db: AsyncSession, told: Callable[[], None]) -> None:
    """Call `told` once the transaction of `Database.write` is committed, and not if it isn't."""
    db.info.setdefault(_AFTER_COMMIT, []).append(told)


async def changed(db: AsyncSession, statement: Executable) -> int:
    """Run an UPDATE, DELETE or INSERT and return how many rows it touched."""
    result = cast("CursorResult[Any]", await db.execute(statement))
    return result.rowcount


def _create(postgres: Postgres, pool_size: int) -> AsyncEngine:
    engine = postgres.make_engine(
        pool_size=pool_size,
        max_overflow=0,  # to open a connection costs more than what is done with it
        pool_timeout=5,
        hide_parameters=True,  # an error is logged, and what people said is none of the log's business
        json_serializer=_to_json,
    )
    event.listen(engine.sync_engine, "before_cursor_execute", _clean_texts, retval=True)
    event.listen(engine.sync_engine, "checkin", _note_return)
    event.listen(engine.sync_engine, "checkout", partial(_check_after_a_rest, engine.dialect))
    return engine


def _create_sqlite(url: str, pool_size: int) -> AsyncEngine:
    parsed = make_url(url)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        parsed,
        pool_size=pool_size,
        hide_parameters=True,
        json_serializer=_to_json,
        connect_args={"timeout": BUSY_S},
    )
    event.listen(engine.sync_engine, "before_cursor_execute", _clean_texts, retval=True)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _to_json(value: object) -> str:
    return json.dumps(cleaned(value), allow_nan=False)


def _clean_texts(
    _: Connection, __: DBAPICursor, statement: str, parameters: Any, *___: object
) -> tuple[str, Any]:
    """Clean what is written and what is looked for: SQLite would take texts that PostgreSQL refuses."""
    if isinstance(parameters, dict):
        return statement, {name: _fit(value) for name, value in parameters.items()}
    if isinstance(parameters, list):  # of one statement for many rows
        return statement, [tuple(map(_fit, row)) if isinstance(row, tuple) else row for row in parameters]
    return statement, tuple(map(_fit, parameters))


def _fit(value: Any) -> Any:
    return clean(value) if type(value) is str else value


def _note_return(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_RETURNED_AT] = time.monotonic()


def _check_after_a_rest(
    dialect: Dialect, connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """Ask the server whether a connection lives, if it has rested: the pool then takes another.

    SQLAlchemy's own `pool_pre_ping` asks each time: three more messages for every transaction.
    """
    if time.monotonic() - entry.info.get(_RETURNED_AT, math.inf) < RESTED_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error


@retry(
    retry=retry_if_exception_message(match="database is locked"),
    wait=wait_random(0.005, 0.05),
    stop=stop_after_delay(BUSY_S),
    sleep=lambda seconds: await_only(asyncio.sleep(seconds)),
    reraise=True,
)
def _enable_wal(cursor: DBAPICursor) -> None:
    """SQLite doesn't wait for its own timeout here, if two open a new file at once."""
    cursor.execute("PRAGMA journal_mode=WAL")


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN is deferred: two writers would deadlock instead of queueing.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enable_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Erased text is overwritten with zeros, in pages that an index has given up too.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
