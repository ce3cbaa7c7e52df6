"""The doctor's findings, its time limits, and the secrets that it never shows."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.doctor import livekit, webhook
from cli.doctor.broker import check_broker
from cli.doctor.database import check_database
from cli.doctor.environment import SettingsProbe, check_environment
from cli.doctor.findings import Finding, hide, passed, run_checks
from cli.doctor.livekit import check_livekit
from cli.doctor.redis import check_redis, judge_kept, judge_memory, judge_server
from cli.doctor.surroundings import Surroundings
from shared.contracts.settings import BrokerSettings, LiveKitSettings
from tests.support import bad_server as bad
from tests.support.bad_server import bad_server

SECRET = "a-secret-of-thirty-two-characters"


def surroundings(tmp_path: Path, **env: str) -> Surroundings:
    file = tmp_path / "deployment.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in env.items()))
    return Surroundings.of_file(file)


async def test_a_check_that_hangs_holds_up_nobody_and_is_named() -> None:
    freed = threading.Event()

    async def asleep() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    async def in_a_thread() -> Sequence[Finding]:
        await asyncio.to_thread(freed.wait)
        return []

    async def well() -> Sequence[Finding]:
        return [passed("well", "it is")]

    async def broken() -> Sequence[Finding]:
        raise RuntimeError(f"refused {SECRET}")

    checks = {"asleep": asleep, "thread": in_a_thread, "well": well, "broken": broken}
    found = await run_checks(checks, limit_s=0.05, secrets=[SECRET])
    freed.set()
    assert [(one.check, one.status.value) for one in found] == [
        ("asleep", "fail"),
        ("thread", "fail"),
        ("well", "pass"),
        ("broken", "fail"),
    ]
    assert all("no answer" in one.evidence for one in found[:2])
    assert found[3].evidence == "RuntimeError: refused •••"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {SECRET}!", "key •••!"),
        ("redis://user:hunter2@host:6379/0", "redis://•••@host:6379/0"),
        ("redis://:hunter2@host", "redis://•••@host"),
        ("postgresql+asyncpg://u:p@h/d and http://h/path", "postgresql+asyncpg://•••@h/d and http://h/path"),
        ("token eyJhbGciOi.eyJpc3MiOi.c2ln is", "token ••• is"),
    ],
)
def test_no_secret_is_shown(text: str, shown: str) -> None:
    assert hide(text, [SECRET]) == shown


def test_secrets_are_known_by_the_names_and_places_of_their_variables(tmp_path: Path) -> None:
    here = surroundings(
        tmp_path,
        LIVEKIT_API_KEY="APIname",
        LIVEKIT_API_SECRET=SECRET,
        DATABASE_URL="postgresql://u:pass%20word@h/d",
        ROLLCALL_API_KEY="rk_secret",
    )
    assert here.secrets == {SECRET, "pass%20word", "pass word", "rk_secret"}


def test_a_file_is_looked_at_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://elsewhere")
    monkeypatch.setenv("BROKER_URL", "amqp://elsewhere")
    here = surroundings(tmp_path, REDIS_URL="redis://here/0")
    assert "LIVEKIT_URL" not in here.env
    assert here.settings(BrokerSettings).celery_broker_url == "redis://here/0"
    with pytest.raises(ValueError, match="livekit_url"):
        here.settings(LiveKitSettings)


async def test_every_fault_of_the_settings_is_told_by_name_and_no_value(tmp_path: Path) -> None:
    here = surroundings(
        tmp_path, LIVEKIT_URL=f"https:{SECRET}", LIVEKIT_API_KEY="k", JOIN_BUDGET_S="soon", REDIS_ULR="x"
    )
    found = await check_environment(here, SettingsProbe(here))
    told = {one.evidence.split(" ")[0]: one for one in found}
    assert set(told) == {"LIVEKIT_URL", "LIVEKIT_API_SECRET", "JOIN_BUDGET_S", "REDIS_ULR"}
    assert (
        told["LIVEKIT_API_SECRET"].evidence
        == "LIVEKIT_API_SECRET is missing (agent, api, dispatcher, verifier)"
    )
    assert told["REDIS_ULR"].status == "warn"
    assert told["REDIS_ULR"].fix == "did you mean REDIS_URL?"
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("skew", "status"),
    [(None, "skip"), (0.6, "pass"), (-9, "pass"), (25, "warn"), (61, "fail"), (-3600, "fail")],
)
def test_clocks_may_differ_a_little(skew: float | None, status: str) -> None:
    found = livekit.judge_clock(skew)
    assert found.status == status
    if skew and abs(skew) > 10:
        assert ("ahead of" if skew > 0 else "behind") in found.evidence


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"redis_version": "7.0.15"}, "pass"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "pass"),
        ({"redis_version": "6.2.14"}, "fail"),
        ({"redis_version": "7.4.0", "role": "slave"}, "fail"),
    ],
)
def test_redis_must_be_a_primary_of_version_seven(info: dict[str, str], status: str) -> None:
    assert judge_server("redis://h", info).status == status


@pytest.mark.parametrize(
    ("info", "saves", "status"),
    [
        ({"aof_enabled": 1}, None, "pass"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, None, "fail"),
        ({"aof_enabled": 0}, True, "warn"),
        ({"aof_enabled": 0}, False, "warn"),
        ({"aof_enabled": 0}, None, "skip"),
    ],
)
def test_redis_should_write_to_disk(info: dict[str, object], saves: bool | None, status: str) -> None:
    assert judge_kept(info, saves=saves).status == status


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"maxmemory_policy": "noeviction"}, "pass"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 100, "used_memory": 1}, "fail"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warn"),
        ({"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 91}, "warn"),
    ],
)
def test_redis_must_throw_nothing_away(info: dict[str, object], status: str) -> None:
    assert judge_memory(info).status == status


def test_webhooks_that_stopped_coming_are_noticed() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    url = "https://api/v1/livekit/webhook"
    assert webhook.judge_arrivals(None, None, url).status == "skip"
    assert webhook.judge_arrivals(now, now + timedelta(seconds=5), url).status == "pass"
    for last in (None, now - timedelta(hours=1)):
        found = webhook.judge_arrivals(last, now, url)
        assert (found.status, url in (found.fix or "")) == ("warn", True)


@pytest.mark.parametrize("behaviour", [*bad.FOREIGN, bad.REDIRECT_308])
async def test_somebody_elses_server_is_not_taken_for_livekit(tmp_path: Path, behaviour: str) -> None:
    async with bad_server(behaviour) as server:
        url = server.url("ws", "/api")
        here = surroundings(tmp_path, LIVEKIT_URL=url, LIVEKIT_API_KEY="k", LIVEKIT_API_SECRET=SECRET)
        found = (await check_livekit(here))[0]
    assert found.status.value == "fail"
    assert "is not LiveKit's API" in found.evidence
    assert found.fix == "remove the path /api from LIVEKIT_URL"


async def test_a_url_that_no_client_takes_is_told_with_the_reason(tmp_path: Path) -> None:
    here = surroundings(
        tmp_path,
        REDIS_URL="redis://h1,h2",
        BROKER_URL="sqs://",
        DATABASE_URL="postgresql://u:hunter2@h/d?sslmode=no-verify",
    )
    [redis], [broker] = await check_redis(here), await check_broker(here)
    database = (await check_database(here))[0]
    assert "REDIS_URL names several servers" in redis.evidence
    assert broker.status.value == "fail"
    assert "DATABASE_URL sslmode must be one of" in database.evidence


async def test_white_space_around_a_value_is_none_of_it(tmp_path: Path) -> None:
    here = surroundings(tmp_path, LIVEKIT_API_KEY=" key ", LIVEKIT_URL="ws://h:1\n")
    assert (here.env["LIVEKIT_API_KEY"], here.env["LIVEKIT_URL"]) == ("key", "ws://h:1")
