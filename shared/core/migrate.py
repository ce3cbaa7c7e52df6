"""Bring the database's schema up to date: `python -m shared.core.migrate`."""

import asyncio
import sys
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.contracts.settings import DatabaseSettings, LogSettings
from shared.platform.config import load_settings
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, fault_of
from shared.platform.database.sqlite import BEGIN, WRITING
from shared.platform.logs.logs import configure_logs, get_logger

log = get_logger(__name__)

# Two replicas that start together must not migrate at once (PostgreSQL advisory lock).
_MIGRATION_LOCK = 0x526F6C6C63616C6C


class MigrationSettings(DatabaseSettings, LogSettings):
    """The settings of the migration."""


def alembic_config() -> Config:
    """Return where alembic finds the migrations."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))  # a % would begin a variable there
    return config


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    else:
        connection.execute(text("SELECT 1"))  # the transaction begins with it, once it is our turn to write
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(url: str) -> None:
    """Apply every migration that the database at `url` lacks."""
    database = Database(url, command_timeout_s=None)
    try:
        async with database.engine.execution_options(**{BEGIN: WRITING}).begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await database.close()


async def pending_migration(database: Database) -> str | None:
    """Return the revision that the database lacks, or None if its schema is up to date."""

    def current(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    with database.observed("read"):
        async with database.engine.connect() as connection:
            revision = await connection.run_sync(current)
    return None if revision == _head() else _head()


@cache
def _head() -> str | None:
    """Return the newest revision; this imports every migration."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def main() -> None:
    """Entry point."""
    settings = load_settings(MigrationSettings)
    configure_logs(settings, service="migrate")
    try:
        asyncio.run(migrate(settings.database_url))
    except DATABASE_ERRORS as error:
        log.exception("schema_not_migrated", message=str(fault_of(error)))
        sys.exit(1)
    log.info("schema_migrated", message="database schema is up to date")


if __name__ == "__main__":
    main()
