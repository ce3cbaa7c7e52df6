"""What a stack consists of, given what the user has set."""

import stat
from pathlib import Path

import pytest
import yaml

from devstack.environment import clean_environment, user_environment
from devstack.provision.server import ProvisionError
from devstack.stack import Stack
from devstack.stack_plan import Plan, StackOptions, plan_stack

_CLOUD = {
    "LIVEKIT_URL": "wss://example.livekit.cloud",
    "LIVEKIT_API_KEY": "APIkey",
    "LIVEKIT_API_SECRET": "secret",
}


async def _plan(state: Path, **options: object) -> Plan:
    env = clean_environment(options.pop("env", None))  # type: ignore[arg-type]
    return await plan_stack(StackOptions(state=state, env=env, **options), tell=print)  # type: ignore[arg-type]


def _names(plan: Plan) -> list[str]:
    return [spec.name for spec in plan.specs]


async def test_with_nothing_set_everything_is_ours(tmp_path: Path) -> None:
    plan = await _plan(tmp_path)
    assert _names(plan) == [
        "redis",
        "livekit",
        "migrate",
        "inference",
        "api",
        "dispatcher",
        "verifier",
        "transcripts",
        "webhooks",
        "agent",
    ]
    assert plan.env["DATABASE_URL"] == f"sqlite+aiosqlite:///{tmp_path}/rollcall.db"
    assert plan.env["LIVEKIT_INFERENCE_URL"].startswith("http://127.0.0.1:")
    assert plan.env["LIVEKIT_AGENT_NAME"] == "agent"


async def test_a_cloud_project_replaces_livekit_and_inference(tmp_path: Path) -> None:
    plan = await _plan(tmp_path, env=_CLOUD)
    assert "livekit" not in _names(plan)
    assert "inference" not in _names(plan)
    assert plan.env["LIVEKIT_URL"] == "wss://example.livekit.cloud"
    assert "LIVEKIT_INFERENCE_URL" not in plan.env


async def test_a_url_without_its_key_is_named_as_the_fault(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="LIVEKIT_API_KEY is not"):
        await _plan(tmp_path, env={"LIVEKIT_URL": "wss://example.livekit.cloud"})


async def test_redis_database_and_inference_can_be_named(tmp_path: Path) -> None:
    env = {
        "REDIS_URL": "redis://elsewhere:6379/1",
        "DATABASE_URL": "postgresql://elsewhere/rollcall",
        "LIVEKIT_INFERENCE_URL": "https://elsewhere/v1",
    }
    plan = await _plan(tmp_path, env=env)
    assert {"redis", "inference"}.isdisjoint(_names(plan))
    assert {name: plan.env[name] for name in env} == env


async def test_services_can_be_chosen_repeated_and_told_apart(tmp_path: Path) -> None:
    plan = await _plan(
        tmp_path,
        env=_CLOUD,
        services={"api", "agent"},
        replicas={"agent": 2},
        service_env={"agent": {"AGENT_MAX_JOBS": "3"}, "agent-2": {"AGENT_MAX_JOBS": "5"}},
    )
    assert _names(plan) == ["redis", "migrate", "api", "agent", "agent-2"]
    agent, second = plan.specs[-2:]
    assert (agent.env["AGENT_MAX_JOBS"], second.env["AGENT_MAX_JOBS"]) == ("3", "5")
    assert agent.env["PROBE_PORT"] != second.env["PROBE_PORT"]
    assert "api" in agent.outlived_by


def test_a_service_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such service: webhoks"):
        Stack(tmp_path, services={"webhoks"})


async def test_livekit_serves_this_machine_only_and_keeps_its_random_key(tmp_path: Path) -> None:
    first, second = await _plan(tmp_path), await _plan(tmp_path)
    assert first.env["LIVEKIT_API_SECRET"] == second.env["LIVEKIT_API_SECRET"]
    assert (await _plan(tmp_path / "other")).env["LIVEKIT_API_SECRET"] != first.env["LIVEKIT_API_SECRET"]
    config = yaml.safe_load((tmp_path / "livekit.yaml").read_text())
    assert config["bind_addresses"] == ["127.0.0.1"]
    assert config["rtc"]["tcp_port"] == 0
    assert config["webhook"]["urls"] == [f"http://127.0.0.1:{second.api_port}/v1/livekit/webhook"]
    for name in ("livekit.yaml", "livekit-key.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_environment_wins_over_the_env_file_and_empty_is_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=redis://file/0\nLIVEKIT_URL=\nAGENT_LLM=openai/gpt-5\n")
    monkeypatch.setenv("REDIS_URL", "redis://environment/0")
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    env = user_environment(tmp_path)
    assert env["REDIS_URL"] == "redis://environment/0"
    assert env["AGENT_LLM"] == "openai/gpt-5"
    assert "LIVEKIT_URL" not in env
