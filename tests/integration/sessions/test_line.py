"""`GET /v1/line`: who waits for an agent, in which line, for how long and why."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.api.auth.access import Scope
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import put_session
from tests.support.keys import put_key
from tests.unit.making import T0

pytestmark = pytest.mark.sql


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        yield client


async def park(database: Database, second: int, **row: Any) -> str:
    at = T0 + timedelta(seconds=second)
    values = {"waiting_for": Cause.WORKERS_AT_CAPACITY, "requested_at": at, **row}
    return (await put_session(database, **values)).id


async def lines(client: httpx.AsyncClient, key: dict[str, str], **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/line", headers=key, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["lines"]
    return found


async def test_who_waits_is_told_by_pool_with_cause_and_place(
    client: httpx.AsyncClient, database: Database
) -> None:
    await park(database, 0, project="another")
    later = await park(database, 3)
    first = await park(database, 1)
    cut_off = await park(database, 2, waiting_for=Cause.LIVEKIT_UNREACHABLE)
    green = await park(database, 4, deployment="green", waiting_for=Cause.WORKER_DRAINING)
    await put_session(database)
    await park(database, 5, status=SessionStatus.FAILED)
    unnamed, named = await lines(client, await put_key(database, Scope.SESSIONS_READ))
    assert (unnamed["agent_name"], unnamed["deployment"], unnamed["waiting"]) == ("agent", "", 3)
    assert unnamed["causes"] == {"workers_at_capacity": 2, "livekit_unreachable": 1}
    assert datetime.fromisoformat(unnamed["oldest_at"]) == T0 + timedelta(seconds=1)
    # Another project's session is the next, and is not shown.
    places = [(each["session_id"], each["place_in_line"]) for each in unnamed["sessions"]]
    assert places == [(first, 2), (cut_off, None), (later, 4)]
    assert (named["deployment"], named["waiting"]) == ("green", 1)
    assert [each["session_id"] for each in named["sessions"]] == [green]
    for each in unnamed["sessions"]:
        session = await client.get(
            f"/v1/sessions/{each['session_id']}", headers=await put_key(database, Scope.SESSIONS_READ)
        )
        assert session.json()["place_in_line"] == each["place_in_line"]


async def test_a_long_line_is_counted_and_its_beginning_shown(
    client: httpx.AsyncClient, database: Database
) -> None:
    ids = [await park(database, second) for second in range(5)]
    other = await park(database, 9, agent_name="other")
    key = await put_key(database, Scope.SESSIONS_READ)
    long, short = await lines(client, key, limit="2")
    assert (long["waiting"], [each["session_id"] for each in long["sessions"]]) == (5, ids[:2])
    assert [each["session_id"] for each in short["sessions"]] == [other]
    assert [line["agent_name"] for line in await lines(client, key, agent_name="other")] == ["other"]


async def test_nobody_waits(client: httpx.AsyncClient, database: Database) -> None:
    await put_session(database, project="another", waiting_for=Cause.WORKERS_AT_CAPACITY)
    assert await lines(client, await put_key(database, Scope.SESSIONS_READ)) == []
