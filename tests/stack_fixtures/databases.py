"""Fresh, migrated databases, and which kind of database a test runs on."""

import os
import shutil
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from devstack.provision.postgres import PostgresServer

KINDS: Final = ("sqlite", "postgres")
_TEMPLATE = "migrated"


def which_databases(test_id: str, *, about_sql: bool) -> Sequence[str]:
    """Return the kinds of database that a test runs on.

    A test about SQL runs on both. Every other test runs on one, which a checksum of its id chooses: always on
    the same one, and about half of the tests on each. With FULL=1, all tests run on both.
    """
    if about_sql or os.environ.get("FULL"):
        return KINDS
    return [KINDS[zlib.crc32(test_id.encode()) % len(KINDS)]]


class DatabaseFactory:
    """Migrates once for each kind of database, and gives out copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._migrated: set[str] = set()

    async def sqlite(self) -> str:
        """Return the URL of a fresh SQLite database."""
        template = self._folder / f"{_TEMPLATE}.db"
        if "sqlite" not in self._migrated:
            await _migrate(_sqlite_url(template))
            self._migrated.add("sqlite")
        file = self._folder / f"{uuid.uuid4().hex}.db"
        shutil.copy(template, file)
        return _sqlite_url(file)

    async def postgres(self, server: PostgresServer, name: str) -> str:
        """Return the URL of a fresh PostgreSQL database of this name."""
        if "postgres" not in self._migrated:
            await _migrate(await server.create_database(_TEMPLATE))
            self._migrated.add("postgres")
        return await server.create_database(name, template=_TEMPLATE)


async def _migrate(url: str) -> None:
    # Imported late: most unit tests need no database, and each process of theirs would load it.
    from shared.core.migrate import migrate

    await migrate(url)


def _sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture(scope="session")
def database_factory(tmp_path_factory: pytest.TempPathFactory) -> DatabaseFactory:
    """Creates databases, for tests that need several or a certain kind."""
    return DatabaseFactory(tmp_path_factory.mktemp("databases"))
