"""A PostgreSQL server that a test may kill and start again on the same data."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import psutil

from devstack.provision.postgres import PostgresServer, running_postgres
from tests.support.sessions import until


class RestartablePostgres:
    """A separate server; `url` is that of a database in it."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self.url = url
        main = psutil.Process(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))
        self._main: psutil.Process | subprocess.Popen[bytes] = main
        self._command, self._uid, self._gid = main.cmdline(), main.uids().real, main.gids().real

    async def kill(self) -> None:
        """SIGKILL; its backends follow it."""
        workers = psutil.Process(self._main.pid).children()
        self._main.kill()
        await asyncio.to_thread(psutil.wait_procs, [*workers], 10)
        await asyncio.to_thread(self._main.wait)

    async def start(self) -> None:
        """Start again on the same data; return when the server answers."""
        with (self._server.folder / "again.log").open("ab") as log:
            self._main = await asyncio.to_thread(
                subprocess.Popen,
                self._command,
                user=self._uid,
                group=self._gid,
                stdout=log,
                stderr=log,
                cwd="/",
            )

        async def answers() -> bool:
            try:
                connection = await self.connect()
            except (OSError, asyncpg.PostgresError):
                return False
            await connection.close()
            return True

        await until(answers, what="PostgreSQL answers again")

    async def connect(self) -> asyncpg.Connection:
        name = self.url.partition("@/")[2].partition("?")[0]
        return await asyncpg.connect(host=str(self._server.folder), user="postgres", database=name)

    async def stop(self) -> None:
        """End the server that this started; the first one's owner ends it."""
        if isinstance(self._main, subprocess.Popen):
            await self.kill()


@asynccontextmanager
async def restartable_postgres() -> AsyncIterator[RestartablePostgres]:
    """A server with one empty database."""
    with running_postgres() as server:
        postgres = RestartablePostgres(server, await server.create_database("faults"))
        try:
            yield postgres
        finally:
            await postgres.stop()
