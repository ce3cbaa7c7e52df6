"""The forecast for each agent's name: registered, served by workers that don't report, or unknown."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from devstack.servers import LiveKitServer
from services.api.health.schemas import AgentHealth
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, beat_for_ever, in_process
from tests.integration.rows import put_session
from tests.unit.making import make_heartbeat

S = SessionStatus


@pytest.fixture
async def client(database_url: str, redis_url: str, livekit_server: LiveKitServer) -> Any:
    settings = api_settings(
        database_url,
        redis_url,
        livekit_url=livekit_server.url,
        livekit_api_key=livekit_server.api_key,
        livekit_api_secret=livekit_server.api_secret,
    )
    async with in_process(settings) as opened:
        yield opened


async def health(client: httpx.AsyncClient, name: str | None = None) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/health/agent", params={"agent_name": name} if name else {})
    body: dict[str, Any] = answer.json()
    AgentHealth.model_validate(body, extra="forbid")
    assert body["look_at"]["workers"] == "/v1/workers"
    return answer.status_code, body


async def joined(database: Database, name: str, *, hours_ago: float, reported: bool = False) -> str:
    at = utc_now() - timedelta(hours=hours_ago)
    attempt = {"entrypoint_at": at if reported else None}
    row = await put_session(
        database, attempt=attempt, agent_name=name, status=S.ENDED, requested_at=at, active_at=at
    )
    return row.active_at.isoformat() if row.active_at else ""


async def test_a_name_is_answered_for_by_what_is_known_of_it(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    status, body = await health(client, "stranger")
    assert (status, body["status"], body["known"]) == (503, "fail", "unknown")
    assert body["root_cause"][0]["code"] == "no_worker_registered"

    at = await joined(database, "stranger", hours_ago=1)
    status, body = await health(client, "stranger")
    assert (status, body["status"], body["known"], body["root_cause"]) == (200, "pass", "proven", [])
    assert body["agent_worker_info"]["agent_name"] == "stranger"
    assert body["agent_status"] == "livekit_connected"
    assert body["last_proven_join"] == at
    assert body["summary"] == f"not known to the registry; last proven join at {at[:19]}+00:00"
    assert body["agents"] is None

    # Nobody ever asked for the default name, and the one that is asked for is served.
    status, body = await health(client)
    assert (status, body["status"], body["agent_worker_info"]["agent_name"]) == (200, "warn", "agent")
    assert [root["fatal"] for root in body["root_cause"]] == [False]
    assert {each["agent_name"]: each["status"] for each in body["agents"]} == {
        "agent": "warn",
        "stranger": "pass",
    }

    # The evidence is now that the next one fails.
    failed: dict[str, Any] = {"status": S.FAILED, "cause": Cause.AGENT_LEFT, "ended_at": utc_now()}
    await put_session(database, agent_name="stranger", requested_at=utc_now(), **failed)
    status, body = await health(client, "stranger")
    assert (status, body["known"], body["root_cause"][0]["code"]) == (503, "unknown", "agent_left")
    assert (await health(client))[0] == 503

    await beat_for_ever(redis, make_heartbeat(agent_name="stranger"))
    status, body = await health(client, "stranger")
    assert (status, body["known"]) == (200, "registered")
    assert "1 registered, 10 free slots" in body["summary"]


async def test_a_join_of_long_ago_proves_nothing_and_disproves_nothing(
    client: httpx.AsyncClient, database: Database
) -> None:
    await joined(database, "stranger", hours_ago=30)
    status, body = await health(client, "stranger")
    assert (status, body["status"], body["known"]) == (200, "warn", "unproven")
    status, body = await health(client)
    assert (status, [each["agent_name"] for each in body["agents"]]) == (503, ["agent"])


async def test_a_worker_of_ours_that_is_gone_is_missing_whatever_it_did_before(
    client: httpx.AsyncClient, database: Database
) -> None:
    await joined(database, "agent", hours_ago=0.1, reported=True)
    status, body = await health(client)
    assert (status, body["known"], body["root_cause"][0]["code"]) == (503, "unknown", "no_worker_registered")


async def test_a_misspelt_name_is_not_taken_for_a_stranger(client: httpx.AsyncClient, redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat(agent_name="agent"))
    assert (await health(client))[1]["status"] == "pass"
    status, body = await health(client, "agnet")
    assert (status, body["root_cause"][0]["code"]) == (503, "agent_name_mismatch")
    assert body["root_cause"][0]["evidence"]["nearest"] == "agent"
    assert_problem(await client.get("/health/agent?agent=agent"), 422, "invalid_request")
