"""Rows that the database refuses because of their data, on either database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from shared.platform.database.database import Database


@asynccontextmanager
async def refused(database: Database, table: str, operation: str, condition: str) -> AsyncIterator[None]:
    """In the block, refuse `operation` (INSERT, UPDATE) on rows that match `condition`, which uses `NEW`."""
    function = "BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '23514'; END"
    on_postgres = (
        f"CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $${function}$$",
        f"CREATE TRIGGER refuse_row BEFORE {operation} ON {table} FOR EACH ROW WHEN ({condition})"
        " EXECUTE FUNCTION refuse_row()",
    )
    on_sqlite = (
        f"CREATE TRIGGER refuse_row BEFORE {operation} ON {table} WHEN {condition}"
        " BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    await _run(database, *(on_sqlite if database.is_sqlite else on_postgres))
    try:
        yield
    finally:
        after = () if database.is_sqlite else ("DROP FUNCTION refuse_row",)
        end = "DROP TRIGGER refuse_row" + ("" if database.is_sqlite else f" ON {table}")
        await _run(database, end, *after)


async def _run(database: Database, *statements: str) -> None:
    async with database.write() as db:
        for statement in statements:
            await db.execute(text(statement.replace(":", "\\:")))
