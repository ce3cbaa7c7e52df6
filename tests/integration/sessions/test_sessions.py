"""Reading, listing, following and ending sessions over HTTP, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import AgentReady, SessionEnded
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import CLOSE_WITHIN, advance, record
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import (
    api_settings,
    assert_problem,
    served,
    start,
)
from tests.integration.rows import event_types, get_session, last_event, put_session
from tests.unit.making import T0


async def test_what_was_asked_for_can_be_read_back(client: httpx.AsyncClient) -> None:
    wish = {
        "agent_name": "front desk",
        "room_name": "lobby",
        "mode": "hybrid",
        "models": {"llm": "openai/gpt-5-mini", "voice": "anna"},
        "metadata": {"customer": {"id": 7, "name": "Zoë"}},
    }
    read = (await client.get(f"/v1/sessions/{(await start(client, **wish))['session_id']}")).json()
    assert (read["agent_name"], read["room_name"], read["mode"]) == ("front desk", "lobby", "pipeline")
    assert read["models"]["llm"] == "openai/gpt-5-mini"
    assert read["metadata"] == wish["metadata"]
    assert (read["attempt"], read["attempts"], read["failure"]) == (0, [], None)
    assert (read["require"], read["canary"], read["place_in_line"]) == ("active", False, None)
    assert read["timings"]["requested_at"].endswith("Z")


async def test_who_waits_for_a_free_slot_reads_his_place_in_line(
    client: httpx.AsyncClient, database: Database
) -> None:
    first, second = [
        (await put_session(database, waiting_for=Cause.WORKERS_AT_CAPACITY)).id for _ in range(2)
    ]
    read = (await client.get(f"/v1/sessions/{second}")).json()
    assert (read["waiting_for"], read["place_in_line"]) == ("workers_at_capacity", 2)
    await client.delete(f"/v1/sessions/{first}")
    assert (await client.get(f"/v1/sessions/{second}")).json()["place_in_line"] == 1


async def test_ending_a_session_twice_is_ending_it_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    session_id = (await start(client))["session_id"]
    first = await client.delete(f"/v1/sessions/{session_id}")
    second = await client.delete(f"/v1/sessions/{session_id}")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["status"] == second.json()["status"] == "cancelled"
    assert first.json() == second.json()
    assert await event_types(database, session_id) == ["session.requested.v1", "session.cancelled.v1"]


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (SessionStatus.REQUESTED, "cancelled"),
        (SessionStatus.DISPATCHING, "cancelled"),
        (SessionStatus.DISPATCHED, "cancelled"),
        (SessionStatus.ACTIVE, "ended"),
        (SessionStatus.FAILED, "failed"),
        (SessionStatus.ENDED, "ended"),
    ],
)
async def test_a_session_can_be_ended_in_any_state(
    client: httpx.AsyncClient, database: Database, status: SessionStatus, becomes: str
) -> None:
    row = await put_session(database, status=status)
    answers = await asyncio.gather(*(client.delete(f"/v1/sessions/{row.id}") for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert {answer.json()["status"] for answer in answers} == {becomes}
    assert len(await event_types(database, row.id)) == (1 if status == becomes else 2)


async def test_ending_a_session_that_waits_in_line_says_for_what_and_frees_it_at_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    later = utc_now() + timedelta(minutes=5)
    row = await put_session(
        database, waiting_for=Cause.WORKERS_AT_CAPACITY, claimed_until=later, next_check_at=later
    )
    assert (await client.delete(f"/v1/sessions/{row.id}")).json()["waiting_for"] is None
    stored = await get_session(database, row.id)
    assert (stored.waiting_for, stored.claimed_until) == (None, None)
    assert stored.next_check_at is not None
    assert stored.next_check_at <= utc_now() + CLOSE_WITHIN
    assert await last_event(database, row.id) == {
        "type": "session.cancelled.v1",
        "reason": "ended by request",
        "cause": "workers_at_capacity",
        "evidence": {},
    }


async def test_a_failed_session_says_why_and_what_to_do(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(
        database,
        status=SessionStatus.FAILED,
        cause=Cause.AGENT_NAME_MISMATCH,
        evidence={"nearest": "Agent"},
        attempt={"number": 1, "outcome": "failed", "cause": Cause.AGENT_NAME_MISMATCH},
    )
    read = (await client.get(f"/v1/sessions/{row.id}")).json()
    assert read["failure"] == {
        "cause": "agent_name_mismatch",
        "advice": ADVICE[Cause.AGENT_NAME_MISMATCH],
        "evidence": {"nearest": "Agent"},
    }
    assert [(attempt["number"], attempt["cause"]) for attempt in read["attempts"]] == [
        (1, "agent_name_mismatch")
    ]


async def test_sessions_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    made = [(await start(client))["session_id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] | None = {"limit": 2}
    while query:
        page = (await client.get("/v1/sessions", params=query)).json()
        seen += [session["session_id"] for session in page["sessions"]]
        query = {"limit": 2, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert seen == made[::-1]


async def test_sessions_of_one_status_are_listed(client: httpx.AsyncClient) -> None:
    first, second = await start(client), await start(client)
    await client.delete(f"/v1/sessions/{first['session_id']}")
    page = (await client.get("/v1/sessions", params={"status": "requested"})).json()
    assert [session["session_id"] for session in page["sessions"]] == [second["session_id"]]


@pytest.mark.parametrize(("query", "canaries"), [("true", [True]), ("false", [False]), ("", [True, False])])
async def test_canaries_are_told_apart_in_the_list(
    client: httpx.AsyncClient, query: str, canaries: list[bool]
) -> None:
    for canary in (False, True):
        await start(client, canary=canary)
    page = (await client.get("/v1/sessions", params={"canary": query} if query else {})).json()
    assert [session["canary"] for session in page["sessions"]] == canaries


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=%00", "cursor"),
        ("cursor='", "cursor"),
        ("status=asleep", "status"),
        ("canary=perhaps", "canary"),
    ],
)
async def test_a_bad_query_is_refused_by_the_name_of_its_parameter(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    body = assert_problem(await client.get(f"/v1/sessions?{query}"), 422, "invalid_request")
    assert [error["field"] for error in body["errors"]] == [field]


async def test_the_history_is_read_in_order(client: httpx.AsyncClient, database: Database) -> None:
    row = await put_session(database)
    for attempt in (1, 2):
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=attempt), now=T0)
    events = (await client.get(f"/v1/sessions/{row.id}/events")).json()["events"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert events[0]["specversion"] == "1.0"
    assert events[2]["data"] == {"attempt": 2}


async def end(database: Database, session_id: str) -> None:
    row = await get_session(database, session_id)
    async with database.write() as db:
        event = SessionEnded(reason="said goodbye")
        assert await advance(db, row, SessionStatus.ENDED, event=event, now=utc_now())


async def sse(lines: AsyncIterator[str]) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
    """The events of a stream: id, type and the envelope."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


STREAM = {"accept": "text/event-stream"}


async def test_a_session_is_followed_live_until_it_is_over(
    database: Database, database_url: str, redis_url: str
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    seen: list[tuple[int, str]] = []
    async with (
        served(api_settings(database_url, redis_url)) as client,
        asyncio.timeout(30),
        client.stream("GET", f"/v1/sessions/{row.id}/events", headers=STREAM) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        async for number, kind, envelope in sse(response.aiter_lines()):
            seen.append((number, kind))
            assert envelope["sequence"] == number
            if number == 1:
                async with database.write() as db:
                    await record(db, row, AgentReady(attempt=1), now=T0)
            elif number == 2:
                await end(database, row.id)
    assert seen == [(1, "session.requested.v1"), (2, "agent.ready.v1"), (3, "session.ended.v1")]


async def test_a_follower_that_comes_back_gets_what_it_has_not_seen(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await end(database, row.id)
    response = await client.get(f"/v1/sessions/{row.id}/events", headers={**STREAM, "last-event-id": "1"})
    assert response.status_code == 200
    assert "id: 2" in response.text
    assert "id: 1" not in response.text


async def test_a_follower_that_has_seen_all_of_a_session_that_is_over_need_not_come_back(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await end(database, row.id)
    response = await client.get(f"/v1/sessions/{row.id}/events", headers={**STREAM, "last-event-id": "2"})
    assert (response.status_code, response.content) == (204, b"")
