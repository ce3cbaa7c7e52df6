"""A fresh, migrated database for each test, on SQLite and on PostgreSQL."""

import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack.provision.postgres import PostgresServer
from shared.core.migrate import migrate

_TEMPLATE = "migrated"


class DatabaseFactory:
    """Migrates once for each kind of database, and gives out copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._migrated: set[str] = set()

    async def sqlite(self) -> str:
        """Return the URL of a fresh SQLite database."""
        template = self._folder / f"{_TEMPLATE}.db"
        if "sqlite" not in self._migrated:
            await migrate(_sqlite_url(template))
            self._migrated.add("sqlite")
        file = self._folder / f"{uuid.uuid4().hex}.db"
        shutil.copy(template, file)
        return _sqlite_url(file)

    async def postgres(self, server: PostgresServer, name: str) -> str:
        """Return the URL of a fresh PostgreSQL database of this name."""
        if "postgres" not in self._migrated:
            await migrate(await server.create_database(_TEMPLATE))
            self._migrated.add("postgres")
        return await server.create_database(name, template=_TEMPLATE)


def _sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture(scope="session")
def database_factory(tmp_path_factory: pytest.TempPathFactory) -> DatabaseFactory:
    """Creates databases, for tests that need several or a certain kind."""
    return DatabaseFactory(tmp_path_factory.mktemp("databases"))


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(
    request: pytest.FixtureRequest, database_factory: DatabaseFactory
) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database; the test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield await database_factory.sqlite()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"test_{uuid.uuid4().hex}"
    yield await database_factory.postgres(server, name)
    await server.drop_database(name)
