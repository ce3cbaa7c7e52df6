"""Connections that die while nobody uses them."""

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.platform.database import database as database_module
from shared.platform.database.database import Database


async def ask(database: Database) -> int:
    async with database.read() as db:
        return int(await db.scalar(text("SELECT 42")))


async def end_all_others(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_connection_that_died_while_it_rested_is_replaced(
    postgres_url: str,
    emptied_postgres: tuple[str, asyncpg.Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "RESTED_S", 0.0)
    database = Database(postgres_url)
    try:
        assert await ask(database) == 42
        await end_all_others(emptied_postgres[1])
        assert await ask(database) == 42
    finally:
        await database.close()


async def test_one_that_was_just_in_use_is_not_asked_and_fails_once(
    postgres_url: str,
    emptied_postgres: tuple[str, asyncpg.Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "RESTED_S", 3600.0)
    database = Database(postgres_url)
    try:
        assert await ask(database) == 42
        await end_all_others(emptied_postgres[1])
        with pytest.raises(DBAPIError):
            await ask(database)
        assert await ask(database) == 42
    finally:
        await database.close()
