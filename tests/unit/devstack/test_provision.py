"""Finding and building servers; the Go tool chain is played by a script."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from devstack.ports import Ports, free_port, is_free
from devstack.provision.livekit import ensure_livekit_server
from devstack.provision.redis import find_redis_server
from devstack.provision.server import ProvisionError, version_of
from tests.stack_fixtures.waiting import eventually

_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go{version} linux/amd64"; exit 0; fi
echo "$@" >> "{calls}"
echo "go: downloading something" >&2
{then}
"""
_BUILDS = 'sleep 0.3; echo "#!/bin/sh" > "$GOBIN/server"; chmod +x "$GOBIN/server"'


def _env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, then: str, version: str = "1.26.8"
) -> dict[str, str]:
    """Return an environment whose PATH has a Go that does `then`, and no LiveKit server."""
    programs = tmp_path / "programs"
    programs.mkdir()
    go = programs / "go"
    go.write_text(_GO.format(version=version, calls=tmp_path / "calls", then=then))
    go.chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    return {"PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


async def test_a_server_is_built_once_even_by_two_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = _env(tmp_path, monkeypatch, then=_BUILDS)
    told: list[str] = []
    first, second = await asyncio.gather(*(ensure_livekit_server(env, tell=told.append) for _ in range(2)))
    assert first == second == await ensure_livekit_server(env, tell=told.append)
    assert os.access(first, os.X_OK)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert any("another run is building" in line for line in told)
    assert sorted(p.name for p in first.parent.iterdir() if p.is_dir()) == []


async def test_a_failed_build_shows_the_end_of_its_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = _env(tmp_path, monkeypatch, then='echo "no route to the proxy" >&2; exit 1')
    with pytest.raises(ProvisionError, match=r"no route to the proxy(.|\n)*LIVEKIT_SERVER"):
        await ensure_livekit_server(env, tell=print)
    assert not list((tmp_path / "cache").glob("rollcall/build-*"))
    assert not list((tmp_path / "cache").glob("rollcall/livekit-server-*"))


async def test_a_build_that_is_interrupted_leaves_no_process_and_no_half_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = _env(tmp_path, monkeypatch, then='echo $$ > "$GOBIN/../pid"; exec sleep 600')
    pid = tmp_path / "cache" / "rollcall" / "pid"
    build = asyncio.create_task(ensure_livekit_server(env, tell=print))
    await eventually(lambda: pid.exists() and bool(pid.read_text()))
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert not list((tmp_path / "cache").glob("rollcall/build-*"))


async def test_a_named_server_is_taken_or_refused_by_name(tmp_path: Path) -> None:
    server = tmp_path / "livekit-server"
    server.write_text("#!/bin/sh\n")
    with pytest.raises(ProvisionError, match=f"LIVEKIT_SERVER names {server}"):
        await ensure_livekit_server({"LIVEKIT_SERVER": str(server)}, tell=print)
    server.chmod(0o755)
    assert await ensure_livekit_server({"LIVEKIT_SERVER": str(server)}, tell=print) == server


async def test_a_redis_of_at_least_version_7_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14 sha=0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = await find_redis_server()
    assert found != old
    version = await version_of(str(found), "--version")
    assert version is not None
    assert version >= (7, 0)


async def test_a_program_without_a_version_has_none(tmp_path: Path) -> None:
    assert await version_of(str(tmp_path / "missing"), "--version") is None
    assert await version_of("/bin/false") is None


def test_a_taken_port_is_fallen_forward_from_with_a_notice() -> None:
    told: list[str] = []
    wanted = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", wanted))
        listener.listen()
        assert not is_free(wanted)
        ports = Ports(fixed=True, tell=told.append)
        port = ports.take(wanted, what="the API")
    assert port > wanted
    assert told == [f"port {wanted} is taken: the API listens on {port}"]
    assert ports.take(port, what="another") != port


def test_random_ports_are_never_handed_out_twice() -> None:
    ports = Ports(fixed=False, tell=print)
    taken = [ports.take(8080, what="it") for _ in range(50)]
    assert len(set(taken)) == 50
