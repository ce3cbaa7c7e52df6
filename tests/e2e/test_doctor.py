"""`rollcall doctor` with a whole stack: all is well; and each possible fault once, for real."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.examine import examine
from cli.doctor.findings import Finding
from devstack.ports import free_port
from devstack.services import REPOSITORY
from devstack.stack import Stack
from shared.contracts.causes import ADVICE, Cause
from tests.support.sessions import until

WRONG_SECRET = "another-secret-of-thirty-two-letters"


def env_file(stack: Stack, folder: Path, changes: Mapping[str, str]) -> Path:
    env = {**stack.env, "ROLLCALL_URL": stack.api_url, **changes}
    names = [name for name in env if name.isupper() and name not in ("PATH", "HOME", "PYTHONPATH")]
    file = folder / "deployment.env"
    file.write_text("".join(f"{name}='{env[name]}'\n" for name in names))
    return file


async def diagnosed(stack: Stack, folder: Path, changes: Mapping[str, str]) -> list[Finding]:
    found = await examine(None, None, folder, env_file=env_file(stack, folder, changes), limit_s=60)
    assert all(finding.fix for finding in found if finding.status in ("fail", "warn"))
    assert stack.livekit_api_secret not in repr(found)
    assert WRONG_SECRET not in repr(found)
    return found


def run_doctor(file: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--env-file", str(file), "--json", "--timeout", "60"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


async def test_beside_a_healthy_stack_nothing_is_found(stack: Stack, tmp_path: Path) -> None:
    file = env_file(stack, tmp_path, {})

    async def healthy() -> bool:
        # An earlier test may have left the worker busy, or a session without its agent.
        code, found = await asyncio.to_thread(run_doctor, file)
        if code == 0:
            assert {one["status"] for one in found["checks"]} <= {"pass", "skip", "warn"}
            assert len(found["checks"]) >= 17
        return code == 0 and found["ok"]

    await until(healthy, what="the doctor finds nothing")


CASES: dict[str, tuple[dict[str, str], dict[str, tuple[str, str]]]] = {
    "wrong secret": (
        {"LIVEKIT_API_SECRET": WRONG_SECRET},
        {
            "livekit": ("refuses the secret", "LIVEKIT_API_SECRET"),
            "webhook": ("refuses webhooks signed", "LIVEKIT_API_SECRET"),
            "inference": ("refuses the key", "LIVEKIT_INFERENCE_API_KEY"),
        },
    ),
    "unknown key, wrong agent name": (
        {"LIVEKIT_API_KEY": "APInobody", "LIVEKIT_AGENT_NAME": "agnet"},
        {
            "livekit": ("does not know the key APInobody", "same project"),
            "workers": ("none is named agnet; there is ['agent']", ADVICE[Cause.AGENT_NAME_MISMATCH]),
        },
    ),
    "no LiveKit, no database": (
        {
            "LIVEKIT_URL": "ws://127.0.0.1:{free}",
            "DATABASE_URL": "sqlite+aiosqlite:///{folder}/nowhere.db",
        },
        {
            "livekit": ("does not answer", ADVICE[Cause.LIVEKIT_UNREACHABLE]),
            "database": ("there is no file", "shared.core.migrate"),
        },
    ),
    "no Redis, no migration": (
        {
            "REDIS_URL": "redis://127.0.0.1:{free}/0",
            "DATABASE_URL": "sqlite+aiosqlite:///{folder}/empty.db",
        },
        {
            "redis": ("does not answer", "REDIS_URL"),
            "broker": ("does not answer", "BROKER_URL"),
            "migrations": ("the schema is not that of revision", "shared.core.migrate"),
        },
    ),
    "nobody at work, bad setting": (
        {"REDIS_URL": "{redis}/7", "JOIN_BUDGET_S": "soon"},
        {
            "celery": ("rollcall.dispatch, rollcall.verify, rollcall.housekeeping", "services.dispatcher"),
            "workers": ("no_worker_registered", ADVICE[Cause.NO_WORKER_REGISTERED]),
            "environment": ("JOIN_BUDGET_S is malformed", "set JOIN_BUDGET_S"),
        },
    ),
    "bad models, no API": (
        {
            "AGENT_LLM": "openai/gpt-5-mni",
            "AGENT_STT": "deepgram/nova-33",
            "AGENT_TTS": "cartesia/song",
            "ROLLCALL_URL": "http://127.0.0.1:{free}",
        },
        {
            "model: llm": ("no openai/gpt-5-mni", "AGENT_LLM in the worker's environment; nearest: openai"),
            "model: stt": ("no deepgram/nova-33", "AGENT_STT"),
            "model: tts": ("no cartesia/song", "AGENT_TTS"),
            "api": ("does not answer", "services.api"),
            "webhook": ("does not answer", "--webhook-url"),
        },
    ),
}
# What each case breaks, and the findings that follow; all other findings stay the same.
FOLLOWS = {"next session", "webhook: sent", "inference", "webhook", "workers"}


@pytest.fixture(scope="module")
async def findings(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """The findings of each case; several cases run at once."""
    at_once = asyncio.Semaphore(2)

    async def examined(changes: dict[str, str]) -> list[Finding]:
        folder = tmp_path_factory.mktemp("deployment")
        (folder / "empty.db").touch()
        places = {
            "free": str(free_port()),
            "folder": str(folder),
            "redis": stack.redis_url.rpartition("/")[0],
        }
        changed = {name: value.format(**places) for name, value in changes.items()}
        async with at_once:
            return await diagnosed(stack, folder, changed)

    found = await asyncio.gather(*(examined(changes) for changes, _ in CASES.values()))
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("case", CASES)
async def test_what_is_broken_is_found_with_its_fix(findings: dict[str, list[Finding]], case: str) -> None:
    failures = [finding for finding in findings[case] if finding.status == "fail"]
    wanted = CASES[case][1]
    for check, (evidence, fix) in wanted.items():
        found = [failure for failure in failures if failure.check == check]
        assert any(evidence in one.evidence and fix in (one.fix or "") for one in found), findings[case]
    # Checks of healthy parts pass.
    assert {failure.check for failure in failures} - FOLLOWS <= set(wanted), findings[case]
