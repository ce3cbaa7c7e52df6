"""pgbouncer in front of the tests' PostgreSQL, configured as operators do, and a wire that can be cut."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from devstack.ports import free_port
from devstack.provision.postgres import UNPRIVILEGED, PostgresServer
from tests.support.certificates import Certificate
from tests.support.wire import Wire, open_wire

_PROGRAM: Final = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
# Few server connections for many clients: consecutive transactions of a client get different ones.
_CONFIGURATION: Final = """
[databases]
* = host={folder} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 4
max_client_conn = 200
server_round_robin = 1
"""
_TLS: Final = """
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {chain}
"""


@asynccontextmanager
async def pgbouncer(
    server: PostgresServer, *, mode: str = "transaction", certificate: Certificate | None = None
) -> AsyncIterator[int]:
    """Yield the port on which pgbouncer accepts connections to every database of the server."""
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="rollcall-pgbouncer-"))
    written = _CONFIGURATION.format(folder=server.folder, port=port, mode=mode)
    if certificate is not None:
        for file in (certificate.key, certificate.chain):
            shutil.copy(file, folder / file.name)
        written += _TLS.format(key=folder / certificate.key.name, chain=folder / certificate.chain.name)
    (folder / "pgbouncer.ini").write_text(written)
    command = [_PROGRAM, "-q", str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # which pgbouncer refuses
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, UNPRIVILEGED)
        command[1:1] = ["-u", UNPRIVILEGED]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        await _until_it_listens(port, process)
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)
    raise AssertionError("pgbouncer has not started")


@asynccontextmanager
async def wire_to(server: PostgresServer) -> AsyncIterator[Wire]:
    """A port of the loopback interface that leads to PostgreSQL."""
    async with open_wire(server.folder / ".s.PGSQL.5432") as wire:
        yield wire
