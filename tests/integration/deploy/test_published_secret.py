"""Each process with the secret that docker-compose.yml publishes: it doesn't start where others reach it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.compose import environment_of

ROOT: Final = Path(__file__).parents[3]
COMMANDS: Final = {
    "guard": "shared.platform.config",
    "api": "services.api",
    "dispatcher": "services.dispatcher",
    "verifier": "services.verifier",
    "agent": "services.agent",
}


@pytest.mark.parametrize("service", COMMANDS)
def test_beyond_this_machine_nothing_starts_with_the_published_secret(service: str, tmp_path: Path) -> None:
    bind = "192.0.2.7"
    env = environment_of(service, {"BIND_ADDRESS": bind, "API_AUTH": "keys"})
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, "-m", COMMANDS[service]],
        env={**env, **path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "LIVEKIT_API_SECRET is a published one" in ended.stderr
    assert bind in ended.stderr
    assert "openssl rand" in ended.stderr, "it says what to do"
