"""DATABASE_URL in every form, against a real PostgreSQL: several hosts, TLS, a pooler, and silence."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from devstack.provision.postgres import PostgresServer
from shared.core.migrate import migrate, pending_migration
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import get_session, put_session
from tests.support import bad_server as bad
from tests.support.bad_server import bad_server
from tests.support.certificates import Certificate, make_certificate
from tests.support.pooler import pgbouncer, wire_to

pytestmark = pytest.mark.sql

NAME = "SELECT current_database() || ' ' || current_setting('application_name')"
# Far above every limit in these tests.
HANGS_S = 60


async def ask(url: str, question: str = NAME) -> str:
    database = Database(url)
    try:
        async with asyncio.timeout(HANGS_S), database.read() as db:
            return str(await db.scalar(text(question)))
    finally:
        await database.close()


@pytest.fixture
def database_name(postgres_url: str) -> str:
    """The name of an empty, migrated database."""
    return str(make_url(postgres_url).database)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def pooled_url(postgres_server: PostgresServer, database_name: str) -> AsyncIterator[str]:
    async with pgbouncer(postgres_server) as port:
        yield f"postgres://postgres@127.0.0.1:{port}/{database_name}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_a_url_with_libpqs_parameters_is_taken(
    postgres_server: PostgresServer, database_name: str, scheme: str
) -> None:
    async with wire_to(postgres_server) as wire:
        options = "sslmode=prefer&connect_timeout=30&application_name=calls&options=-c%20lock_timeout%3D7s"
        url = f"{scheme}://postgres:p%40ss@127.0.0.1:{wire.port}/{database_name}?{options}"
        assert await ask(url) == f"{database_name} calls"
        assert await ask(url, "SHOW lock_timeout") == "7s"


async def test_a_socket_is_named_in_either_way(postgres_server: PostgresServer, database_name: str) -> None:
    folder = postgres_server.folder
    in_host = f"postgresql://postgres@{str(folder).replace('/', '%2F')}/{database_name}"
    as_option = f"postgresql:///{database_name}?host={folder}&user=postgres&application_name=x"
    assert await ask(in_host) == f"{database_name} "
    assert await ask(as_option) == f"{database_name} x"


async def test_of_several_hosts_the_first_that_answers_and_takes_writes_is_it(
    postgres_server: PostgresServer, database_name: str, free_port: int
) -> None:
    async with wire_to(postgres_server) as wire, bad_server(bad.NEVER) as silent:
        hosts = f"127.0.0.1:{free_port},127.0.0.1:{silent.port},127.0.0.1:{wire.port}"
        url = f"postgresql://postgres@{hosts}/{database_name}?connect_timeout=3"
        assert await ask(f"{url}&target_session_attrs=read-write") == f"{database_name} "
        read_only = "options=-c%20default_transaction_read_only%3Don"
        with pytest.raises(DATABASE_ERRORS, match="read-write"):
            await ask(f"{url}&{read_only}")


@pytest.mark.parametrize("behaviour", [*bad.SILENT, bad.NO_HTTP, bad.HTML, bad.HANGS_UP])
async def test_a_database_that_never_answers_is_not_waited_for(behaviour: str) -> None:
    async with bad_server(behaviour) as server:
        with pytest.raises((*DATABASE_ERRORS, DBAPIError)):
            await ask(f"postgresql://u:p@127.0.0.1:{server.port}/d?connect_timeout=1&sslmode=disable")


@pytest.mark.product_limits
async def test_a_database_that_falls_silent_holds_nobody_longer_than_a_statement_may_take(
    postgres_server: PostgresServer, database_name: str
) -> None:
    async with wire_to(postgres_server) as wire:
        url = f"postgresql://postgres@127.0.0.1:{wire.port}/{database_name}"
        database = Database(url, command_timeout_s=1)
        row = await put_session(database)
        wire.cut()
        async with asyncio.timeout(HANGS_S):
            with pytest.raises(DATABASE_ERRORS):
                await get_session(database, row.id)
            with pytest.raises(DATABASE_ERRORS):
                async with database.write() as db:
                    await db.execute(text("SELECT 1"))
            await database.close()


async def test_tls_is_verified_as_the_url_says(
    postgres_server: PostgresServer, database_name: str, certificate: Certificate, tmp_path: Path
) -> None:
    async with pgbouncer(postgres_server, certificate=certificate) as port:
        url = f"postgresql://postgres@localhost:{port}/{database_name}"
        for mode in ("verify-full", "verify-ca", "require"):
            assert await ask(f"{url}?sslmode={mode}&sslrootcert={certificate.authority}")
        assert await ask(f"{url}?sslmode=require")
        assert await ask(f"{url}?ssl=true")
        stranger = make_certificate(tmp_path).authority
        for unknown in (f"&sslrootcert={stranger}", "&sslrootcert=system", ""):
            with pytest.raises(DATABASE_ERRORS, match="certificate"):
                await ask(f"{url}?sslmode=verify-full{unknown}")


async def test_tls_that_the_server_has_not_is_not_done_without(
    postgres_server: PostgresServer, database_name: str
) -> None:
    async with wire_to(postgres_server) as wire:
        with pytest.raises(DATABASE_ERRORS, match="SSL"):
            await ask(f"postgresql://postgres@127.0.0.1:{wire.port}/{database_name}?sslmode=require")


@pytest.mark.parametrize("declared", ["", "?pgbouncer=true"])
async def test_behind_a_pooler_every_kind_of_session_works(pooled_url: str, declared: str) -> None:
    database = Database(pooled_url + declared, pool_size=10)
    at_once = asyncio.Semaphore(10)  # nobody waits for a connection, however slow the machine is

    async def one(_: int) -> None:
        async with at_once:
            await everything()

    async def everything() -> None:
        row = await put_session(database)
        await get_session(database, row.id)
        async with database.snapshot() as db:
            await db.execute(text("SET LOCAL statement_timeout = 5000"))
            await db.scalar(text("SELECT count(*) FROM session"))
        async with database.autocommit() as db:
            await db.execute(text("UPDATE session SET version = version + 1 WHERE id = :id"), {"id": row.id})
        assert await database.change(text("UPDATE session SET version = version WHERE id = 'x'")) == 0

    await asyncio.gather(*(one(n) for n in range(40)))
    async with database.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM session WHERE version > 0")) == 40
    await database.close()


async def test_behind_a_pooler_the_schema_is_migrated(pooled_url: str) -> None:
    await migrate(pooled_url)
    database = Database(pooled_url)
    assert await pending_migration(database) is None
    await database.close()


async def test_behind_a_pooler_the_api_loses_no_request(pooled_url: str, redis_url: str) -> None:
    async with in_process(api_settings(pooled_url, redis_url)) as client:
        started = await asyncio.gather(*(client.post("/v1/sessions", json={}) for _ in range(30)))
        assert {answer.status_code for answer in started} == {202}
        paths = [f"/v1/sessions/{answer.json()['session_id']}" for answer in started] + ["/v1/sessions"]
        read = await asyncio.gather(*(client.get(path) for path in paths))
        assert {answer.status_code for answer in read} == {200}


async def test_a_pooler_is_told_from_the_server_itself(
    postgres_server: PostgresServer, postgres_url: str, pooled_url: str
) -> None:
    for url, pooled in ((postgres_url, False), (pooled_url, True)):
        database = Database(url)
        assert await database.is_pooled() is pooled
        await database.close()
