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

from devstack.provision.postgres import PostgresServer
from services.api.transcripts.search.search import Filters, Order, search_turns
from shared.core.all_tables import METADATA
from shared.core.migrate import alembic_config, migrate, pending_migration
from shared.platform.database.database import Database
from shared.platform.database.sqlite import BEGIN, WRITING
from tests.integration.rows import a_turn, count, get_session, put_session, store_turns

pytestmark = pytest.mark.sql

HEAD = "0021"
TABLES = {
    "agent_profile",
    "api_key",
    "audit_entry",
    "console_login",
    "dispatch_attempt",
    "erasure_mark",
    "idempotency_key",
    "lease",
    "livekit_webhook_receipt",
    "session",
    "session_event",
    "traffic",
    "transcript_item",
    "webhook_cursor",
    "webhook_delivery",
    "webhook_endpoint",
}
PARTIAL_INDEXES = {
    "ix_session_project_cause",
    "ix_session_canary",
    "ix_session_due",
    "ix_session_ended",
    "ix_session_erase_again",
    "ix_session_event_foreign_agent",
    "ix_session_event_unpublished",
    "ix_session_expired",
    "ix_session_reserved",
    "ix_session_transcript_kept",
    "ix_session_waiting",
    "uq_session_live_room",
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
    assert await pending(empty_url) == HEAD
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


async def test_replicas_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert await tables(empty_url) == {*TABLES, "alembic_version"}


def differences(connection: Connection) -> list[object]:
    """In what the schema is not what the models describe."""

    def include(_: object, name: str | None, *__: object) -> bool:
        return not (name or "").startswith(OF_ONE_DATABASE)

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": include})
    return list(compare_metadata(context, METADATA))


async def test_the_models_and_the_migrated_schema_do_not_differ(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_models_name_exactly_these_tables(database: Database) -> None:
    assert set(METADATA.tables) == TABLES


async def go_to(url: str, revision: str) -> None:
    """Bring the schema to this revision, from below or from above."""

    def move(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        here = MigrationContext.configure(connection).get_current_revision() or ""
        down = revision == "base" or revision < here
        (command.downgrade if down else command.upgrade)(config, revision)

    database = Database(url)
    async with database.engine.execution_options(**{BEGIN: WRITING}).begin() as connection:
        await connection.run_sync(move)
    await database.close()


async def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_it_back(empty_url: str) -> None:
    await migrate(empty_url)
    await go_to(empty_url, "base")
    assert await tables(empty_url) == {"alembic_version"}
    await migrate(empty_url)
    assert await tables(empty_url) == {*TABLES, "alembic_version"}


async def test_sessions_of_the_first_schema_outlive_the_way_up_down_and_up(empty_url: str) -> None:
    await migrate(empty_url)
    database = Database(empty_url)
    row = await put_session(database, waiting_for="workers_at_capacity", attempt={"number": 1})
    await database.close()
    for revision in ("0001", HEAD, "0001"):
        await go_to(empty_url, revision)
    assert await pending(empty_url) == HEAD
    await migrate(empty_url)
    database = Database(empty_url)
    # What a session of the first schema does not say: it asks for no more than was asked for then.
    assert await get_session(database, row.id) == row
    assert (row.required_level, row.canary) == ("active", False)
    assert await count(database, "session_event") == await count(database, "dispatch_attempt") == 1
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert set(await connection.run_sync(partial)) == PARTIAL_INDEXES
    await database.close()


async def test_turns_of_the_schema_before_are_found_by_their_words_after_the_way_up(empty_url: str) -> None:
    await migrate(empty_url)
    database = Database(empty_url)
    row = await put_session(database)
    await store_turns(
        database, [a_turn(row.id, seq, text=said) for seq, said in ((1, "我的手机"), (2, "कि"))]
    )
    await database.close()
    await go_to(empty_url, "0012")
    await migrate(empty_url)
    database = Database(empty_url)
    for query, turns in (("手机", {1}), ("कि", {2}), ("की", set())):
        page = await search_turns(
            database,
            query,
            filters=Filters(),
            order=Order.NEWEST,
            limit=9,
            cursor=None,
            project="default",
        )
        assert {hit.seq for hit in page.results} == turns
    await database.close()


def partial(connection: Connection) -> dict[str, str]:
    """The partial indexes, each with its condition."""
    found = {}
    for table in ("session", "session_event"):
        for index in inspect(connection).get_indexes(table):
            where = index.get("dialect_options", {}).get(f"{connection.dialect.name}_where")
            if where is not None:
                found[str(index["name"])] = str(where).replace("(", "").replace(")", "")
    return found


async def test_the_indexes_that_keep_the_sweep_and_the_relay_cheap_are_partial(database: Database) -> None:
    async with database.engine.connect() as connection:
        found = await connection.run_sync(partial)
    assert set(found) == PARTIAL_INDEXES
    assert found["ix_session_event_foreign_agent"].startswith("type")
    assert found["ix_session_event_unpublished"].startswith("published_at IS NULL")
    assert found["ix_session_waiting"].startswith("waiting_for IS NOT NULL")
