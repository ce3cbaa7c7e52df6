"""Check the database: whether it answers, and whether its schema is up to date."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy import make_url, text

from cli.doctor.findings import Finding, failed, passed, skipped
from cli.doctor.surroundings import Surroundings, reason_of
from shared.contracts.database_url import is_postgres
from shared.contracts.settings import DatabaseSettings
from shared.core.database_ready import missing_columns
from shared.core.migrate import pending_migration
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, fault_of

NAME: Final = "database"
SCHEMA: Final = "migrations"
MIGRATE: Final = "run python -m shared.core.migrate with this environment"
BY_HAND: Final = "undo what was changed by hand"
NAMED: Final = 5


class NoDatabase(Exception):
    """There is no database to check; the message says why."""


@asynccontextmanager
async def opened(surroundings: Surroundings) -> AsyncIterator[Database]:
    """Open the database; raises `NoDatabase` instead of creating a missing file."""
    try:
        url = surroundings.settings(DatabaseSettings).database_url
    except ValidationError as invalid:
        raise NoDatabase(reason_of(invalid)) from None
    if not is_postgres(url) and not _is_file(file := make_url(url).database or ""):
        raise NoDatabase(f"there is no file {file}")
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        await database.close()


async def check_database(surroundings: Surroundings) -> Sequence[Finding]:
    """Connect, and compare the schema with the one that this release needs."""
    try:
        async with opened(surroundings) as database:
            where = database.engine.url.render_as_string(hide_password=True)
            version = await _version(database)
            missing = await pending_migration(database)
            lacking = await missing_columns(database) if missing is None else []
    except NoDatabase as error:
        return [failed(NAME, str(error), f"correct DATABASE_URL, or {MIGRATE}"), skipped(SCHEMA, str(error))]
    except DATABASE_ERRORS as error:
        fault = fault_of(error)
        why = f"it can't be reached: {fault.what} [{fault.state}] {fault.said}".rstrip()
        return [failed(NAME, why, fault.mend), skipped(SCHEMA, "the database can't be reached")]
    schema = passed(SCHEMA, "the schema is up to date")
    if missing is not None:
        schema = failed(SCHEMA, f"the schema is not that of revision {missing}", MIGRATE)
    elif lacking:
        schema = failed(SCHEMA, f"the database lacks {', '.join(lacking[:NAMED])}", f"{MIGRATE}; {BY_HAND}")
    return [passed(NAME, f"{version} at {where}"), schema]


def _is_file(path: str) -> bool:
    return Path(path).is_file()


async def _version(database: Database) -> str:
    kind, question = ("SQLite", "SELECT sqlite_version()")
    if not database.is_sqlite:
        kind, question = ("PostgreSQL", "SHOW server_version")
    async with database.read() as db:
        return f"{kind} {await db.scalar(text(question))}"
