"""Connections to PostgreSQL by DATABASE_URL, with time limits, and also through a pooler.

A pooler in transaction mode (pgbouncer's `pool_mode = transaction`) may give each transaction another
connection to the server. A statement that was prepared on one connection does not exist on the next. So
behind a pooler no prepared statement outlives its transaction, and every statement is in a transaction.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from shared.contracts.database_url import PostgresUrl, read_postgres_url
from shared.platform.database.errors import READ_ONLY
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
# Without a limit, the driver waits forever for a silent server. None of our statements takes this long.
COMMAND_TIMEOUT_S: Final = 30.0

_NEXT_HOST: Final = (OSError, asyncpg.TargetServerAttributeNotMatched, asyncpg.CannotConnectNowError)


class Postgres:
    """Connects to the PostgreSQL that a URL names."""

    def __init__(self, url: str, *, command_timeout_s: float | None = COMMAND_TIMEOUT_S) -> None:
        """Raises `ValueError` for an invalid URL. A time limit in the URL overrides `command_timeout_s`."""
        self._url = read_postgres_url(url)
        self._pooled = self._url.pooled
        self._learning: asyncio.Task[None] | None = None
        self._options: dict[str, Any] = {
            "user": self._url.user,
            "password": self._url.password,
            "passfile": self._url.passfile,
            "database": self._url.database,
            "timeout": self._url.connect_timeout_s or CONNECT_TIMEOUT_S,
            "command_timeout": self._url.command_timeout_s or command_timeout_s,
            "target_session_attrs": self._url.target_session_attrs,
            "server_settings": self._url.server_settings or None,
            **_tls(self._url),
        }

    def make_engine(self, **options: Any) -> AsyncEngine:
        """Return an engine that uses these connections; `options` are SQLAlchemy's."""
        self._engine = create_async_engine(
            self._shown(), connect_args={"async_creator_fn": self._connect}, **options
        )
        event.listen(self._engine.sync_engine, "do_connect", self._look_for_a_pooler)
        event.listen(self._engine.sync_engine, "handle_error", _drop_if_useless)
        return self._engine

    async def is_pooled(self) -> bool:
        """Return whether there is a pooler. The first connection detects it.

        Raises the same errors as a session.
        """
        if self._pooled is None:
            # All callers share one attempt. If each made its own, one after the other, the last one would
            # wait for a silent server as long as all attempts together.
            if self._learning is None or self._learning.done():
                self._learning = asyncio.create_task(self._connect_once())
                self._learning.add_done_callback(_heard)
            await asyncio.shield(self._learning)
        return bool(self._pooled)

    async def _connect_once(self) -> None:
        async with self._engine.connect():
            pass

    def _look_for_a_pooler(
        self, dialect: Dialect, _: Any, arguments: list[Any], options: dict[str, Any]
    ) -> DBAPIConnection | None:
        """Detect a pooler with the first connection; behind a pooler, prepare no statements."""
        if self._pooled is None:
            first: Any = dialect.connect(*arguments, **options)
            self._pooled = await_only(_is_pooled(first.driver_connection))
            if not self._pooled:
                return cast("DBAPIConnection", first)
            first.driver_connection.terminate()
            log.info(
                "database_pooler_found",
                message="DATABASE_URL leads to a connection pooler: Rollcall prepares no statements on it",
            )
        if self._pooled:
            # The next statement replaces an unnamed one, so a connection keeps none.
            unnamed: Callable[[], str] = str
            options.update(prepared_statement_cache_size=0, prepared_statement_name_func=unnamed)
        return None

    async def _connect(self, **options: Any) -> "asyncpg.Connection":
        """Connect to the first host that answers and suits; each host gets the whole time limit."""
        cached = {"statement_cache_size": 0} if self._pooled else {}
        last: BaseException | None = None
        for host, port in self._url.hosts or ((None, None),):
            try:
                return await asyncpg.connect(
                    host=host, port=port, **{**self._options, **cached, **_of_driver(options)}
                )
            except _NEXT_HOST as error:
                last = error
        if isinstance(last, asyncpg.TargetServerAttributeNotMatched):
            raise ConnectionError(f"no host of DATABASE_URL is {self._url.target_session_attrs}") from last
        assert last is not None
        raise last

    def _shown(self) -> URL:
        """Return the URL for logs, from which SQLAlchemy also chooses its dialect."""
        host, port = self._url.hosts[0] if self._url.hosts else (None, None)
        query = {"host": host} if host and host.startswith("/") else {}
        return URL.create(
            "postgresql+asyncpg",
            username=self._url.user,
            host=None if query else host,
            port=None if query else port,
            database=self._url.database,
            query=query,
        )


def _heard(learning: "asyncio.Task[None]") -> None:
    """Read the task's error, so that asyncio does not report it if nobody waits for the task any more."""
    if not learning.cancelled():
        learning.exception()


async def _is_pooled(connection: "asyncpg.Connection") -> bool:
    """Return whether there is a pooler: the process id at the start differs from the server's."""
    async with connection.transaction():
        [[serves]] = await connection.fetch("SELECT pg_backend_pid()")
    return bool(serves != connection.get_server_pid())


def _of_driver(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without the address, which SQLAlchemy took from the URL for logs."""
    return {k: v for k, v in options.items() if k not in ("host", "port", "user", "password", "database")}


def _drop_if_useless(context: ExceptionContext) -> None:
    """Close a connection whose server did not answer: ending its transaction would take as long again.

    Also close all connections to a server that accepts no writes: after a failover, new ones may reach the
    primary.
    """
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
    elif getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _tls(url: PostgresUrl) -> dict[str, Any]:
    """Return the TLS arguments for asyncpg, which reads libpq's parameters only from a URL."""
    verifies = url.sslmode in ("verify-ca", "verify-full")
    if url.sslrootcert == "system" or (verifies and url.sslrootcert is None and not _has_own_authorities()):
        return {"ssl": _trusting_the_system(url)}
    said = {"sslmode": url.sslmode, "sslrootcert": url.sslrootcert, **url.tls_options}
    said = {name: value for name, value in said.items() if value is not None}
    return {"dsn": f"postgresql://?{urlencode(said)}"} if said else {}


def _has_own_authorities() -> bool:
    # libpq's default locations, as asyncpg reads them. If they are empty, asyncpg would refuse.
    named = os.environ.get("PGSSLROOTCERT")  # noqa: TID251
    return bool(named) or Path("~/.postgresql/root.crt").expanduser().exists()


def _trusting_the_system(url: PostgresUrl) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = url.sslmode != "verify-ca"
    if certificate := url.tls_options.get("sslcert"):
        password = url.tls_options.get("sslpassword", "")
        context.load_cert_chain(certificate, url.tls_options.get("sslkey"), partial(str, password))
    return context
