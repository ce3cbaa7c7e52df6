"""The API while a dependency is down: it accepts sessions, and its health pages say what is wrong."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from devstack.process import Process
from devstack.servers import LiveKitServer
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, beat_for_ever, in_process
from tests.integration.rows import get_session, put_session
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat

pytestmark = pytest.mark.sql


@pytest.fixture
async def healthy(
    sqlite_url: str, redis_url: str, livekit_server: LiveKitServer
) -> AsyncIterator[httpx.AsyncClient]:
    settings = api_settings(
        sqlite_url,
        redis_url,
        livekit_url=livekit_server.url,
        livekit_api_key=livekit_server.api_key,
        livekit_api_secret=livekit_server.api_secret,
    )
    async with in_process(settings) as client:
        yield client


async def test_with_a_frozen_redis_a_session_is_accepted_without_waiting(
    database: Database, database_url: str, own_redis: tuple[str, Process]
) -> None:
    url, server = own_redis
    async with in_process(api_settings(database_url, url)) as client:
        server.freeze()
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(client.post("/v1/sessions") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [202] * 5
        for answer in answers:
            stored = await get_session(database, answer.json()["session_id"])
            assert stored.status == SessionStatus.REQUESTED
        server.thaw()


async def test_with_redis_down_a_session_can_be_started_read_and_ended(
    database_url: str, free_port: int
) -> None:
    async with in_process(api_settings(database_url, f"redis://127.0.0.1:{free_port}/0")) as client:
        started = await client.post("/v1/sessions")
        assert started.status_code == 202
        path = started.headers["location"]
        assert (await client.get(path)).status_code == 200
        assert (await client.get(f"{path}/events")).status_code == 200
        assert (await client.delete(path)).json()["status"] == "cancelled"


async def test_all_is_well_when_all_is_well(healthy: httpx.AsyncClient, redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat(active_jobs=4))
    assert (await healthy.get("/readyz")).status_code == 200
    health = await healthy.get("/health")
    assert health.status_code == 200, health.text
    assert health.headers["content-type"] == "application/health+json"
    assert health.json()["status"] == "pass"
    assert health.json()["version"]
    checks = {name: found for name, [found] in health.json()["checks"].items()}
    assert {name: found["status"] for name, found in checks.items()} == dict.fromkeys(
        (
            "database",
            "redis",
            "livekit",
            "broker",
            "workers",
            "outbox:lag",
            "transcripts:lag",
            "join:age",
            "canary:age",
        ),
        "pass",
    )
    assert checks["workers"]["observedValue"] == 1
    assert all(found["latency_ms"] >= 0 for found in checks.values())
    agent = await healthy.get("/health/agent")
    assert agent.status_code == 200
    body = agent.json()
    [in_short] = body.pop("agents")
    assert (in_short["agent_name"], in_short["status"]) == ("agent", "pass")
    assert body.pop("look_at")["sessions"] == "/v1/sessions?agent_name=agent"
    assert body == {
        "agent_status": "livekit_connected",
        "agent_worker_info": {"agent_name": "agent", "registered_workers": 1, "free_slots": 6},
        "status": "pass",
        "known": "registered",
        "summary": "1 registered, 6 free slots; no proven join yet",
        "last_proven_join": None,
        "last_canary": None,
        "pools": [
            {"deployment": "", "percent": 0, "registered_workers": 1, "free_slots": 6, "cause": None},
        ],
        "root_cause": [],
        "findings": [],
    }


@pytest.mark.parametrize(
    ("worker", "cause"),
    [
        (None, Cause.NO_WORKER_REGISTERED),
        ({"agent_name": "Agent"}, Cause.AGENT_NAME_MISMATCH),
        ({"active_jobs": 10}, Cause.WORKERS_AT_CAPACITY),
        ({"draining": True}, Cause.WORKER_DRAINING),
    ],
)
async def test_why_the_next_session_would_fail_is_told_with_what_to_do(
    healthy: httpx.AsyncClient, redis: Redis, worker: dict[str, Any] | None, cause: Cause
) -> None:
    if worker is not None:
        await beat_for_ever(redis, make_heartbeat(**worker))
    response = await healthy.get("/health/agent")
    assert response.status_code == 503
    body = response.json()
    assert body["agent_status"] == "livekit_connected"
    [found] = body["root_cause"]
    assert (found["code"], found["fix"], found["fatal"]) == (cause, ADVICE[cause], True)
    assert datetime.fromisoformat(found["since"]).utcoffset() == timedelta()


async def test_a_name_that_is_nearly_right_is_told_with_the_one_that_is(
    healthy: httpx.AsyncClient, redis: Redis
) -> None:
    for name in ("billing", "Agent"):
        await beat_for_ever(redis, make_heartbeat(name, agent_name=name))
    [found] = (await healthy.get("/health/agent")).json()["root_cause"]
    assert found["evidence"] == {
        "agent_name": "agent",
        "names_seen": ["Agent", "billing"],
        "nearest": "Agent",
    }


async def test_what_may_fail_is_told_and_yet_the_next_session_is_promised(
    healthy: httpx.AsyncClient, redis: Redis
) -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_QUOTA, detail="429", since=T0)
    await beat_for_ever(redis, make_heartbeat("bad", faults=[fault]))
    await beat_for_ever(redis, make_heartbeat("good"))
    response = await healthy.get("/health/agent")
    assert response.status_code == 200
    assert [(found["code"], found["fatal"]) for found in response.json()["root_cause"]] == [
        ("inference_quota", False)
    ]


async def test_a_wrong_key_is_told_apart_from_a_server_that_is_away(
    sqlite_url: str, redis_url: str, redis: Redis, livekit_server: LiveKitServer
) -> None:
    await beat_for_ever(redis, make_heartbeat())
    wrong_key = api_settings(sqlite_url, redis_url, livekit_url=livekit_server.url)
    async with in_process(wrong_key) as client:
        body = (await client.get("/health/agent")).json()
        assert [found["code"] for found in body["root_cause"]] == ["livekit_auth"]
        assert body["agent_status"] == "livekit_disconnected"
    async with in_process(api_settings(sqlite_url, redis_url)) as client:
        body = (await client.get("/health/agent")).json()
        assert [found["code"] for found in body["root_cause"]] == ["livekit_unreachable"]
        health = await client.get("/health")
        assert health.status_code == 503
        assert health.json()["checks"]["livekit"][0]["status"] == "fail"
        assert health.json()["checks"]["database"][0]["status"] == "pass"


@pytest.mark.product_limits
@pytest.mark.parametrize("fault", ["frozen", "down"])
async def test_without_redis_the_reports_say_so_and_sessions_are_still_accepted(
    sqlite_url: str, own_redis: tuple[str, Process], fault: str
) -> None:
    url, server = own_redis
    async with in_process(api_settings(sqlite_url, url)) as client:
        if fault == "frozen":
            server.freeze()
        else:
            await server.stop()
        health, agent, workers = await asyncio.gather(
            *(client.get(path) for path in ("/health", "/health/agent", "/v1/workers"))
        )
        assert health.status_code == 503
        assert health.json()["checks"]["redis"][0]["status"] == "fail"
        assert "queue_stalled" in [found["code"] for found in agent.json()["root_cause"]]
        assert agent.json()["agent_worker_info"]["registered_workers"] is None
        assert (workers.status_code, workers.json()["code"]) == (503, "registry_unreachable")
        assert workers.headers["retry-after"]

        async def ready() -> bool:  # a busy machine may take longer than one look waits
            return (await client.get("/readyz")).status_code == 200

        await until(ready, what="it is ready, without Redis")
        server.thaw()


async def test_the_last_proven_join_is_told(healthy: httpx.AsyncClient, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await put_session(database, status=SessionStatus.ENDED, active_at=T0)
    await put_session(database)
    assert (await healthy.get("/health/agent")).json()["last_proven_join"] == T0.isoformat()
    await database.close()


async def test_a_database_without_its_schema_is_not_ready(tmp_path: Path, redis_url: str) -> None:
    async with in_process(api_settings(f"sqlite+aiosqlite:///{tmp_path}/empty.db", redis_url)) as client:
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert "python -m shared.core.migrate" in response.json()["output"]
        assert (await client.get("/livez")).status_code == 200


async def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(redis_url: str) -> None:
    away = api_settings("postgresql+asyncpg://postgres@/none?host=/nowhere", redis_url)
    async with in_process(away) as client:
        for response in (await client.post("/v1/sessions"), await client.get("/v1/sessions")):
            assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["retry-after"]
        assert (await client.get("/readyz")).status_code == 503
