"""The wheel, installed by extras into environments with nothing else: each service starts, each command runs.

Nothing of the checkout can be imported there: -I takes away the current folder and PYTHONPATH.
"""

import asyncio
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.servers import LiveKitServer, RedisServer
from devstack.services import ALL_SERVICES, port_variable

ROOT: Final = Path(__file__).parents[2]
UV: Final = Path(sys.executable).with_name("uv")
EXTRAS: Final = {"api": "api", "agent": "agent", "inference": "inference"}  # the others' is control
NEEDS_MORE: Final = {"up": "all", "demo": "all", "call hello": "cli", "doctor": "cli", "replay": "cli"}
LIBRARY: Final = "rollcall_agent"
LIMIT_S: Final = 300

Install = Callable[[str], Path]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def packages() -> list[str]:
    """The folders that pyproject.toml puts into the wheel."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [name.rstrip("*") for name in read["tool"]["setuptools"]["packages"]["find"]["include"]]


def sources() -> list[str]:
    """Every file of the wheel's packages that is, or is about to be, under version control."""
    folders = [f"rollcall-agent/{name}" if name == LIBRARY else name for name in packages()]
    # The console's source is no package: what is built of it is data of the API.
    wanted = [*folders, ":!services/console"]
    ask = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted]
    names = run(*ask, cwd=ROOT).split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy: a build leaves things behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in [*sources(), "pyproject.toml", "README.md", "LICENSE"]:
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    python = ("--python", sys.executable, "--no-build-isolation")
    run(UV, "build", "--quiet", "--wheel", *python, "--out-dir", "made", "source", cwd=folder)
    return next((folder / "made").glob("*.whl"))


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Give an extra, or "" for none; returns the programs of an environment that has the wheel with it."""

    folder = tmp_path_factory.mktemp("environments")

    @cache
    def environment(extra: str) -> Path:
        # Each of these is added to the one before: half of the time goes into compiling what is imported.
        name = "control" if extra in ("control", "api", "cli") else extra or "bare"
        programs = folder / name / "bin"
        if not programs.exists():
            run(UV, "venv", "--quiet", "--python", sys.executable, name, cwd=folder)
        wanted = f"rollcall{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
        locked = ("--constraint", ROOT / "requirements" / "runtime.txt")
        target = ("--python", programs / "python")
        run(UV, "pip", "install", "--quiet", *target, *locked, wanted, cwd=folder)
        run(UV, "pip", "check", "--quiet", *target, cwd=folder)
        return programs

    return environment


def command(program: Path, *arguments: str, cwd: Path, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [program, *arguments],
        env=clean_environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_wheel_holds_every_file_of_its_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name.removeprefix("rollcall-agent/") for name in sources()}


def test_the_command_runs_without_an_extra_and_says_which_one_it_lacks(
    install: Install, tmp_path: Path
) -> None:
    rollcall = install("") / "rollcall"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert command(rollcall, "--version", cwd=tmp_path) == (0, f"rollcall {version}\n")
    assert command(rollcall, "call", "--help", cwd=tmp_path)[0] == 0
    for line, extra in {**NEEDS_MORE, "keys list": "cli"}.items():
        code, said = command(rollcall, *line.split(), cwd=tmp_path)
        assert code == 1
        assert said.startswith("This command needs ")
        assert said.endswith(f" pip install '.[{extra}]'\n")
        assert said.count("\n") == 1


@asynccontextmanager
async def running(
    service: str, install: Install, folder: Path, env: dict[str, str]
) -> AsyncIterator[dict[str, str]]:
    """The service from its own extra, in a folder without the source; its address is yielded."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    spec = ProcessSpec(
        name=service,
        command=[str(install(EXTRAS.get(service, "control")) / "python"), "-I", "-m", f"services.{service}"],
        env=clean_environment({**env, port_variable(service): str(port)}),
        cwd=folder,
        log_file=folder / f"{service}.log",
        ready=http_ready(f"{address}/{'livez' if service == 'agent' else 'readyz'}"),
        ready_timeout_s=120,
        restart=False,
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    try:
        yield {service: address}
    finally:
        process.kill_group()
        await process.stop()


async def started(
    services: Sequence[str], stack: AsyncExitStack, install: Install, folder: Path, env: dict[str, str]
) -> dict[str, str]:
    """All of them, two at a time: any more would share two cores."""
    addresses: dict[str, str] = {}
    for pair in (services[at : at + 2] for at in range(0, len(services), 2)):
        up = (stack.enter_async_context(running(service, install, folder, env)) for service in pair)
        for address in await asyncio.gather(*up):
            addresses |= address
    return addresses


async def test_each_service_starts_from_its_extra_and_the_command_reaches_them(
    install: Install, tmp_path: Path, redis_server: RedisServer, livekit_server: LiveKitServer
) -> None:
    # What a folder of the user may hold: packages of the same names as ours.
    for package in packages():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('not the one that is meant')")
    env = {
        "LIVEKIT_URL": livekit_server.url,
        "LIVEKIT_API_KEY": livekit_server.api_key,
        "LIVEKIT_API_SECRET": livekit_server.api_secret,
        "REDIS_URL": f"{redis_server.url.rpartition('/')[0]}/12",
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'rollcall.db'}",
        "AGENT_SPOOL_DIR": str(tmp_path / "spool"),
        "AGENT_IDLE_PROCESSES": "0",
        "LIVEKIT_AGENT_NAME": "from-the-wheel",
    }
    migrate = ("-I", "-m", "shared.core.migrate")
    assert command(install("control") / "python", *migrate, cwd=tmp_path, **env)[0] == 0

    async with AsyncExitStack() as stack:
        # The API last: its extra is added to the environment of the others.
        services = sorted(ALL_SERVICES, key=lambda service: service == "api")
        addresses = await started(services, stack, install, tmp_path, env)
        api = {"ROLLCALL_URL": addresses["api"]}
        bare = install("") / "rollcall"
        for line in ("start --json", "sessions --json", "workers --json", "search hello --json"):
            code, said = await asyncio.to_thread(command, bare, *line.split(), cwd=tmp_path, **api)
            assert code == 0, f"{line}: {said}"
        whole = install("cli") / "rollcall"
        code, said = await asyncio.to_thread(command, whole, "keys", "create", "tests", cwd=tmp_path, **env)
        assert code == 0, said
        code, said = await asyncio.to_thread(command, whole, "doctor", "--json", cwd=tmp_path, **env, **api)
        assert '"check": "api"' in said, said
