"""A login to a PostgreSQL database for one test, which can take its rights away and give them back."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from devstack.provision.postgres import PostgresServer

_GROUP = "clerks"


class Clerk:
    """Processes under test connect with `url`; `admin` is a connection that may do anything."""

    def __init__(self, admin: asyncpg.Connection, name: str, url: str) -> None:
        self.admin = admin
        self.name = name
        self.url = url

    async def alter(self, statements: str) -> None:
        """Run statements as the administrator; `{clerk}` is the login's name."""
        await self.admin.execute(statements.format(clerk=self.name))

    async def cut_off(self) -> None:
        """End the login's connections, which would otherwise outlive changes of the login."""
        await self.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.name
        )


@asynccontextmanager
async def a_clerk(server: PostgresServer, database: str) -> AsyncIterator[Clerk]:
    """Yield a login with a password, and with every right that Rollcall needs."""
    admin = await asyncpg.connect(host=str(server.folder), user="postgres", database=database)
    name, password = f"clerk_{secrets.token_hex(4)}", secrets.token_hex(8)
    clerk = Clerk(admin, name, f"postgresql://{name}:{password}@/{database}?host={server.folder}")
    await _ask_clerks_for_passwords(server, admin)
    await clerk.alter(
        f"CREATE ROLE {{clerk}} LOGIN PASSWORD '{password}' IN ROLE {_GROUP};"
        " GRANT ALL ON ALL TABLES IN SCHEMA public TO {clerk}"
    )
    try:
        yield clerk
    finally:
        await clerk.cut_off()
        await clerk.alter("DROP OWNED BY {clerk}; DROP ROLE {clerk}")
        await admin.close()


async def _ask_clerks_for_passwords(server: PostgresServer, admin: asyncpg.Connection) -> None:
    """Everybody else is trusted."""
    async with admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock(7)")
        if await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", _GROUP):
            return
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all +{_GROUP} scram-sha-256\n{rules.read_text()}")
        await admin.execute(f"CREATE ROLE {_GROUP}")
        await admin.execute("SELECT pg_reload_conf()")
