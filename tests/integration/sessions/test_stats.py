"""/v1/stats and /v1/causes, on both databases."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.api.stats import stats
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.integration.rows import a_turn, put_session, store_turns
from tests.support.keys import put_key
from tests.unit.making import T0

pytestmark = pytest.mark.sql

DAY = {"since": "2026-11-22T00:00:00Z", "until": "2026-11-25T00:00:00Z"}


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url)) as client:
        yield client


def ms(milliseconds: int, since: datetime = T0) -> datetime:
    return since + timedelta(milliseconds=milliseconds)


async def put_failed(database: Database, cause: Cause, **changes: Any) -> SessionRow:
    return await put_session(database, status=SessionStatus.FAILED, cause=cause, **changes)


async def test_outcomes_and_times_are_counted(client: httpx.AsyncClient, database: Database) -> None:
    for n in range(1, 21):
        joined: dict[str, Any] = {"accepted_at": ms(n), "active_at": ms(100 * n)}
        await put_session(database, status=SessionStatus.ENDED, **joined)
    await put_failed(database, Cause.WORKER_DIED)
    lost = {"active_at": ms(50), "revivals": 2}
    await put_failed(database, Cause.AGENT_LEFT, **lost)
    await put_session(database, status=SessionStatus.CANCELLED)
    await put_session(database, status=SessionStatus.EXPIRED)
    await put_session(database, status=SessionStatus.ENDED, canary=True)
    await put_session(database, project="another")
    answer = (await client.get("/v1/stats", params=DAY)).json()
    assert (answer["sessions"], answer["complete"]) == (23, True)
    assert answer["by_status"] == {"ended": 20, "failed": 2, "cancelled": 1}
    assert answer["by_cause"] == {"worker_died": 1, "agent_left": 1}
    assert answer["join_ratio"] == pytest.approx(21 / 22)
    assert answer["revivals"] == 2
    assert answer["levels"]["accepted"] == {"sessions": 20, "p50_ms": 10, "p95_ms": 19, "p99_ms": 20}
    assert answer["levels"]["active"]["p95_ms"] == 1900
    assert "ready" not in answer["levels"]
    filled = [bucket for bucket in answer["buckets"] if bucket["sessions"]]
    assert [(one["sessions"], one["joined"], one["failed"]) for one in filled] == [(23, 21, 2)]
    assert len(answer["buckets"]) == stats.BUCKETS


async def test_of_too_many_sessions_the_newest_are_counted(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "MOST_SESSIONS", 2)
    for n in range(3):
        await put_session(database, requested_at=ms(n), agent_name="few" if n else "agent")
    answer = (await client.get("/v1/stats", params=DAY)).json()
    assert (answer["sessions"], answer["complete"]) == (2, False)
    answer = (await client.get("/v1/stats", params={**DAY, "agent_name": "few"})).json()
    assert (answer["sessions"], answer["complete"]) == (2, True)


async def test_nothing_is_no_error(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/stats")).json()
    assert (answer["sessions"], answer["join_ratio"], answer["levels"]) == (0, None, {})
    assert (await client.get("/v1/causes")).json()["causes"] == []


async def test_failures_are_grouped_by_cause_and_agent(client: httpx.AsyncClient, database: Database) -> None:
    for n in range(3):
        evidence = {"names_seen": [f"agent {n}"]}
        newest = await put_failed(
            database, Cause.AGENT_NAME_MISMATCH, requested_at=ms(n), agent_name="agnet", evidence=evidence
        )
    await put_failed(database, Cause.AGENT_NAME_MISMATCH, agent_name="bogus")
    await put_failed(database, Cause.WORKER_DIED, requested_at=T0 - timedelta(days=30))
    await put_failed(database, Cause.WORKER_DIED, project="another")
    await put_session(database, status=SessionStatus.CANCELLED, cause=Cause.WORKERS_AT_CAPACITY)
    first, second = (await client.get("/v1/causes", params=DAY)).json()["causes"]
    assert (first["cause"], first["agent_name"], first["sessions"]) == ("agent_name_mismatch", "agnet", 3)
    assert datetime.fromisoformat(first["first_at"]) == T0
    assert datetime.fromisoformat(first["last_at"]) == ms(2)
    assert first["sample_session_id"] == newest.id
    assert first["sample_evidence"] == {"names_seen": ["agent 2"]}
    assert first["advice"] == ADVICE[Cause.AGENT_NAME_MISMATCH]
    assert (second["agent_name"], second["sessions"], second["sample_evidence"]) == ("bogus", 1, {})
    only = (await client.get("/v1/causes", params={**DAY, "agent_name": "bogus"})).json()["causes"]
    assert [group["agent_name"] for group in only] == ["bogus"]


@pytest.mark.parametrize("route", ["/v1/stats", "/v1/causes"])
async def test_a_time_without_length_is_refused(client: httpx.AsyncClient, route: str) -> None:
    turned = {"since": DAY["until"], "until": DAY["since"]}
    refusal = assert_problem(await client.get(route, params=turned), 422, "invalid_request")
    assert refusal["errors"][0]["field"] == "since"
    assert_problem(await client.get(route, params={"sicne": DAY["since"]}), 422, "invalid_request")


async def test_turns_deadline_and_the_steps_of_attempts_are_told(
    client: httpx.AsyncClient, database: Database
) -> None:
    error = {"type": "ValueError", "message": "no such model"}
    steps = {"entrypoint_at": ms(5), "connected_at": ms(6), "closed_at": ms(9)}
    told = {"error": error, "close_reason": "error", **steps}
    row = await put_session(database, revivals=1, attempt=told)
    await store_turns(database, [a_turn(row.id, n) for n in (1, 2)])
    silent = await put_session(database)
    read = (await client.get(f"/v1/sessions/{row.id}")).json()
    assert (read["turns"], read["revivals"]) == (2, 1)
    assert datetime.fromisoformat(read["deadline_at"]) == row.deadline_at
    [attempt] = read["attempts"]
    assert (attempt["error"], attempt["close_reason"]) == (error, "error")
    assert datetime.fromisoformat(attempt["connected_at"]) == ms(6)
    listed = {one["session_id"]: one for one in (await client.get("/v1/sessions")).json()["sessions"]}
    assert (listed[row.id]["turns"], listed[silent.id]["turns"]) == (2, 0)


async def test_another_projects_sessions_are_not_counted(database_url: str, redis_url: str) -> None:
    database = Database(database_url)
    try:
        ours = await put_key(database, project="ours")
        await put_failed(database, Cause.WORKER_DIED, project="theirs")
    finally:
        await database.close()
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        assert (await client.get("/v1/stats", params=DAY, headers=ours)).json()["sessions"] == 0
        assert (await client.get("/v1/causes", params=DAY, headers=ours)).json()["causes"] == []
