"""The agent worker starts only with a complete environment, and names each fault in it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMPLETE = {
    "LIVEKIT_URL": "ws://user:password@localhost:7880",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "a secret of enough length, more than 32 bytes",
}


def start(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.agent"],
        env={"PYTHONPATH": str(ROOT), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("missing", COMPLETE)
def test_a_missing_variable_is_named_and_ends_the_start_with_2(missing: str, tmp_path: Path) -> None:
    ended = start(tmp_path, **{name: value for name, value in COMPLETE.items() if name != missing})
    assert ended.returncode == 2
    assert f"environment variable {missing} is missing" in ended.stderr


def test_a_spool_that_cannot_be_used_ends_the_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = start(tmp_path, **COMPLETE, AGENT_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert ended.returncode == 1
    assert (
        f"AGENT_SPOOL_DIR={tmp_path}/file/spool can't be used (Not a directory)"
        in ended.stderr + ended.stdout
    )


@pytest.mark.parametrize(
    ("profiles", "fault"),
    [
        ("agent: {greting: Hi}", "agent.greting: Extra inputs are not permitted"),
        ("agent: [", "while parsing"),
        ("other: {}", "has no profile agent; it has other"),
        (
            "agent: {mcp_servers: [{url: 'https://x/mcp', headers: {A: '${AGENT_SECRET_X}'}}]}",
            "agent needs AGENT_SECRET_X, which the worker's environment lacks",
        ),
    ],
)
def test_a_profile_with_a_fault_ends_the_start_with_2_and_is_named(
    tmp_path: Path, profiles: str, fault: str
) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(profiles)
    ended = start(tmp_path, **COMPLETE, AGENT_PROFILES=str(file))
    assert ended.returncode == 2
    said = ended.stderr + ended.stdout
    assert str(file) in said
    assert fault in said
