"""Migrations make exactly the schema that the models describe, on both databases."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlmodel import SQLModel

from cli.provision.postgres import PostgresServer
from shared.runtime.database import Database
from shared.runtime.migrate import _config, migrate, pending_migration
from tests.integration.rows import get_session, put_session

TABLES = {
    "dispatch_attempt",
    "lease",
    "livekit_webhook_receipt",
    "session",
    "session_event",
    "transcript_item",
}
# Full-text search, which each database does in a way of its own: no model describes it.
OF_ONE_DATABASE = "transcript_search"


@pytest.fixture(params=["sqlite", "postgres"])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a database in which there is nothing yet."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/new/folder/rollcall.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"empty_{uuid.uuid4().hex}"
    yield await server.create_database(name)
    await server.drop_database(name)


async def tables(url: str) -> set[str]:
    database = Database(url)
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await database.close()
    return {name for name in names if not name.startswith(OF_ONE_DATABASE)}


async def pending(url: str) -> str | None:
    database = Database(url)
    missing = await pending_migration(database)
    await database.close()
    return missing


async def test_an_empty_database_lacks_a_migration_and_a_migrated_one_none(empty_url: str) -> None:
    assert await pending(empty_url) == "0003"
    await migrate(empty_url)
    assert await pending(empty_url) is None
    assert await tables(empty_url) == {*TABLES, "alembic_version"}


async def test_migrating_twice_changes_nothing_and_keeps_the_rows(empty_url: str) -> None:
    await migrate(empty_url)
    database = Database(empty_url)
    row = await put_session(database)
    await migrate(empty_url)
    assert await get_session(database, row.id) == row
    await database.close()


async def test_two_replicas_that_migrate_at_once_both_succeed(empty_url: str) -> None:
    await asyncio.gather(migrate(empty_url), migrate(empty_url))
    assert await tables(empty_url) == {*TABLES, "alembic_version"}


async def test_the_models_and_the_migrated_schema_do_not_differ(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        def include(_: object, name: str | None, *__: object) -> bool:
            return not (name or "").startswith(OF_ONE_DATABASE)

        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": include}
        )
        return list(compare_metadata(context, SQLModel.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_models_name_exactly_these_tables(database: Database) -> None:
    assert set(SQLModel.metadata.tables) == TABLES


async def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_it_back(empty_url: str) -> None:
    def downgrade(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    await migrate(empty_url)
    database = Database(empty_url)
    async with database.engine.execution_options(rollcall_write=True).begin() as connection:
        await connection.run_sync(downgrade)
    await database.close()
    assert await tables(empty_url) == {"alembic_version"}
    await migrate(empty_url)
    assert await tables(empty_url) == {*TABLES, "alembic_version"}


async def test_the_indexes_that_keep_the_sweep_and_the_relay_cheap_are_partial(database: Database) -> None:
    def partial(connection: Connection) -> dict[str, str]:
        found = {}
        for table in ("session", "session_event"):
            for index in inspect(connection).get_indexes(table):
                where = index.get("dialect_options", {}).get(f"{connection.dialect.name}_where")
                if where is not None:
                    found[str(index["name"])] = str(where).replace("(", "").replace(")", "")
        return found

    async with database.engine.connect() as connection:
        found = await connection.run_sync(partial)
    assert set(found) == {
        "ix_session_due",
        "ix_session_erase_again",
        "ix_session_event_unpublished",
        "ix_session_transcript_kept",
        "ix_session_waiting",
        "uq_session_live_room",
    }
    assert found["ix_session_event_unpublished"].startswith("published_at IS NULL")
