"""The wheel of `rollcall-agent` alone, in an environment with nothing else: an agent starts with it.

Beside the agent's file are folders named as packages of ours: many call a folder of their own `shared`.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from devstack.environment import clean_environment
from devstack.process import Process, ProcessSpec
from devstack.servers import LiveKitServer, RedisServer
from shared.core.workers.registry import read_fleet
from shared.platform.redis.client import connect_redis
from tests.support.sessions import until

ROOT: Final = Path(__file__).parents[2]
UV: Final = Path(sys.executable).with_name("uv")
LIMIT_S: Final = 300
# What the library names beside livekit-agents; aiohttp and PyJWT come with that in any case.
OURS: Final = {"aiohttp", "pydantic-settings", "pyjwt", "redis", "structlog", "tenacity", "uuid-utils"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy: a build leaves things behind."""
    folder = tmp_path_factory.mktemp("agent-wheel")
    for name in ("rollcall-agent", "shared"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    python = ("--python", sys.executable, "--no-build-isolation")
    run(UV, "build", "--quiet", "--wheel", *python, "--out-dir", "made", "rollcall-agent", cwd=folder)
    return next((folder / "made").glob("*.whl"))


def test_the_wheel_is_one_package_that_needs_little(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        sources = {name: archive.read(name).decode() for name in names if name.endswith(".py")}
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        needs = re.findall(r"^Requires-Dist: ([\w-]+)", archive.read(metadata).decode(), re.MULTILINE)
    assert {name.partition("/")[0] for name in names} == {"rollcall_agent"}
    assert "rollcall_agent/py.typed" in names
    assert set(needs) == {"livekit-agents", *OURS}
    leaving = re.compile(r"^\s*(?:from|import) (?:shared|services)\b", re.MULTILINE)
    assert [name for name, source in sources.items() if leaving.search(source)] == []
    assert not any("database" in name and "url" not in name for name in names)


def test_library_and_rollcall_have_one_version() -> None:
    stated = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["version"]
        for folder in (".", "rollcall-agent")
    ]
    assert stated[0] == stated[1] == importlib.metadata.version("rollcall-agent")


async def test_an_agent_starts_with_the_wheel_alone(
    wheel: Path, tmp_path: Path, redis_server: RedisServer, livekit_server: LiveKitServer
) -> None:
    run(UV, "venv", "--quiet", "--python", sys.executable, "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    locked = ("--constraint", ROOT / "requirements" / "runtime.txt")
    run(UV, "pip", "install", "--quiet", "--python", python, *locked, wheel, cwd=tmp_path)
    agent = tmp_path / "agent" / "own_agent.py"
    for package in ("shared", "services", "cli"):
        (agent.parent / package).mkdir(parents=True)
        (agent.parent / package / "__init__.py").write_text("raise SystemExit('not the one that is meant')")
    shutil.copy(ROOT / "tests" / "support" / "own_agent.py", agent)
    redis_url = f"{redis_server.url.rpartition('/')[0]}/13"
    log = tmp_path / "agent.log"
    spec = ProcessSpec(
        name="agent",
        command=[str(python), str(agent), "start"],
        env=clean_environment(
            {
                "LIVEKIT_URL": livekit_server.url,
                "LIVEKIT_API_KEY": livekit_server.api_key,
                "LIVEKIT_API_SECRET": livekit_server.api_secret,
                "REDIS_URL": redis_url,
                "OWN_AGENT_NAME": "from-its-wheel",
                "AGENT_SPOOL_DIR": str(tmp_path / "spool"),
            }
        ),
        cwd=agent.parent,
        log_file=log,
        ready=partial(_says, log, "process initialized"),
        ready_timeout_s=120,
        restart=False,
    )
    process = Process(spec, notify=lambda *_: None)
    redis = connect_redis(redis_url)
    try:
        await process.start()

        async def registered() -> bool:
            fleet = await read_fleet(redis)
            return any(worker.registered for worker in fleet.named("from-its-wheel"))

        await until(registered, what="the agent is in the registry")
    finally:
        process.kill_group()
        await process.stop()
        await redis.aclose()


async def _says(log: Path, words: str, _: int) -> bool:
    return log.exists() and words in log.read_text()
