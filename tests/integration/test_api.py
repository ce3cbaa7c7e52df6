"""The API over HTTP, on both databases."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from livekit import api

from services.api.metrics import _STARTS
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import AgentReady, SessionEnded
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault
from shared.runtime.clock import utc_now
from shared.runtime.database import Database
from shared.runtime.sessions import advance, record
from tests.integration.api_client import KEY, NOWHERE, SECRET, api_settings, beat_for_ever, in_process, served
from tests.integration.conftest import Queued
from tests.integration.rows import event_types, get_session, last_event, put_session
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat

PROBLEM = "application/problem+json"


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url)) as client:
        yield client


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["title"]
    assert body["detail"]
    return body


async def start(client: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    response = await client.post("/v1/sessions", json=wish)
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_start_is_answered_with_all_that_is_needed_to_join(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await client.post("/v1/sessions")
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {
        "session_id",
        "room_name",
        "server_url",
        "participant_token",
        "participant_identity",
        "status",
        "agent_identity",
        "timings",
    }
    assert (body["status"], body["server_url"]) == ("requested", NOWHERE)
    assert response.headers["location"] == f"/v1/sessions/{body['session_id']}"
    assert response.headers["cache-control"] == "no-store"
    stored = await get_session(database, body["session_id"])
    assert (stored.status, stored.room_name) == (SessionStatus.REQUESTED, body["room_name"])
    assert await event_types(database, stored.id) == ["session.requested.v1"]


async def test_a_token_opens_its_room_and_no_other_and_calls_no_agent(client: httpx.AsyncClient) -> None:
    body = await start(client, participant_identity="anna", participant_name="Anna Müller")
    claims = jwt.decode(body["participant_token"], SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["name"], claims["iss"]) == ("anna", "Anna Müller", KEY)
    assert claims["video"]["room"] == body["room_name"]
    assert claims["video"]["roomJoin"] is True
    assert not {"roomAdmin", "roomCreate", "roomList", "agent"} & set(claims["video"])
    assert "roomConfig" not in claims
    assert 0 < claims["exp"] - claims["nbf"] <= 900


async def test_a_start_enqueues_the_dispatch_by_itself(client: httpx.AsyncClient, queued: Queued) -> None:
    session_id = (await start(client))["session_id"]

    async def enqueued() -> bool:
        return await queued() == {"rollcall.dispatch_session": [session_id]}

    await until(enqueued, what="the dispatch is on its queue", timeout_s=20)


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


@pytest.mark.parametrize(
    ("wish", "level"),
    [({}, "active"), ({"require": "ready"}, "ready"), ({"canary": True}, "ready")],
)
async def test_what_is_to_be_proven_of_the_agent_can_be_chosen(
    client: httpx.AsyncClient, database: Database, wish: dict[str, Any], level: str
) -> None:
    session_id = (await start(client, **wish))["session_id"]
    stored = await get_session(database, session_id)
    assert (stored.required_level, stored.canary) == (level, wish.get("canary", False))
    read = (await client.get(f"/v1/sessions/{session_id}")).json()
    assert (read["require"], read["canary"]) == (level, stored.canary)


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


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"agent_name": ""}, "agent_name"),
        ({"agent_name": " agent"}, "agent_name"),
        ({"agent_name": "a" * 129}, "agent_name"),
        ({"agent_name": 1}, "agent_name"),
        ({"room_name": ""}, "room_name"),
        ({"room_name": "lobby "}, "room_name"),
        ({"room_name": "lob\nby"}, "room_name"),
        ({"room_name": "lob\x00by"}, "room_name"),
        ({"room_name": "r" * 129}, "room_name"),
        ({"participant_identity": "\t"}, "participant_identity"),
        ({"participant_name": ""}, "participant_name"),
        ({"mode": "telepathy"}, "mode"),
        ({"mode": None}, "mode"),
        ({"require": "first_speech"}, "require"),
        ({"require": None}, "require"),
        ({"canary": "maybe"}, "canary"),
        ({"canary": True, "room_name": "lobby"}, "room_name"),
        ({"models": {"llm": "gpt"}}, "models.llm"),
        ({"models": {"sst": "deepgram/nova-3"}}, "models.sst"),
        ({"models": {"language": "english"}}, "models.language"),
        ({"instructions": "a\x00b"}, "instructions"),
        ({"instructions": "x" * 16_385}, "instructions"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"rollcall": {}}}, "metadata"),
        ({"metadata": {"a": "\x00"}}, "metadata"),
        ({"metadata": {"a": "x" * 32_768}}, "metadata"),
        ({"color": "blue"}, "color"),
    ],
)
async def test_a_bad_wish_is_refused_by_the_name_of_its_field(
    client: httpx.AsyncClient, wish: dict[str, Any], field: str
) -> None:
    body = assert_problem(await client.post("/v1/sessions", json=wish), 422, "invalid_request")
    assert [error["field"] for error in body["errors"]] == [field]
    assert field in body["detail"]
    assert (await client.get("/v1/sessions")).json()["sessions"] == []


@pytest.mark.parametrize("content", [b"{", b"not json", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post(
        "/v1/sessions", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == PROBLEM
    for error in response.json().get("errors", []):
        assert error["field"] == "body"


@pytest.mark.parametrize(
    "content",
    [
        b'{"metadata": {"a": NaN}}',
        b'{"metadata": {"a": 1e999}}',
        b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": {"\\ud800": 1}}',
        b'{"room_name": "\\ud800"}',
        b'{"instructions": "\\ud800"}',
    ],
)
async def test_what_no_database_can_store_is_refused_and_not_an_error_of_ours(
    client: httpx.AsyncClient, content: bytes
) -> None:
    response = await client.post(
        "/v1/sessions", content=content, headers={"content-type": "application/json"}
    )
    assert_problem(response, 422, "invalid_request")


async def test_what_the_operator_does_not_allow_is_refused(database_url: str, redis_url: str) -> None:
    settings = api_settings(
        database_url,
        redis_url,
        allowed_agent_names=["agent", "billing"],
        allowed_models=["openai/*"],
        allowed_voices=["anna"],
    )
    async with in_process(settings) as client:
        for wish, field in (
            ({"agent_name": "Agent"}, "agent_name"),
            ({"models": {"tts": "cartesia/sonic-3"}}, "models.tts"),
            ({"models": {"realtime": "xopenai/x"}}, "models.realtime"),
            ({"models": {"voice": "bert"}}, "models.voice"),
        ):
            body = assert_problem(await client.post("/v1/sessions", json=wish), 422, "invalid_request")
            assert body["errors"][0]["field"] == field
        await start(client, agent_name="billing", models={"llm": "openai/gpt-5-mini", "voice": "anna"})


async def test_a_room_with_a_live_session_is_in_use_until_that_ends(client: httpx.AsyncClient) -> None:
    first = await start(client, room_name="lobby")
    again = await client.post("/v1/sessions", json={"room_name": "lobby"})
    assert_problem(again, 409, "room_in_use")
    await client.delete(f"/v1/sessions/{first['session_id']}")
    await start(client, room_name="lobby")


async def test_of_two_who_want_the_same_room_at_once_one_gets_it(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post("/v1/sessions", json={"room_name": "lobby"}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]


async def test_starts_and_refusals_are_counted(client: httpx.AsyncClient) -> None:
    def counted(outcome: str) -> float:
        return _STARTS.labels(outcome)._value.get()

    accepted, refused = counted("accepted"), counted("room_in_use")
    await start(client, room_name="lobby")
    await client.post("/v1/sessions", json={"room_name": "lobby"})
    assert (counted("accepted"), counted("room_in_use")) == (accepted + 1, refused + 1)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions/no-such-session"),
        ("DELETE", "/v1/sessions/no-such-session"),
        ("GET", "/v1/sessions/no-such-session/events"),
        ("GET", "/v1/sessions/no-such-session/transcript"),
        ("GET", "/v1/sessions/%00"),
        ("DELETE", "/v1/sessions/a%00b"),
        ("GET", "/v1/sessions/%ED%A0%80/transcript"),
    ],
)
async def test_a_session_that_is_not_there_is_a_404(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert_problem(await client.request(method, path), 404, "session_not_found")


async def test_a_path_that_is_not_there_is_a_404(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/v2/sessions"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/sessions"), ("POST", "/v1/sessions/x"), ("DELETE", "/livez"), ("PATCH", "/v1/workers")],
)
async def test_a_method_that_is_not_there_is_a_405_that_names_those_that_are(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"]


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
    assert stored.next_check_at <= utc_now()
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
            await record(db, row.id, AgentReady(attempt=attempt), now=T0)
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
                    await record(db, row.id, AgentReady(attempt=1), now=T0)
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


async def test_the_workers_that_live_now_are_listed(client: httpx.AsyncClient, redis: Any) -> None:
    assert (await client.get("/v1/workers")).json() == {"workers": []}
    fault = WorkerFault(cause=Cause.INFERENCE_QUOTA, detail="429 Too Many Requests", since=T0)
    a_worker = make_heartbeat("w-1", active_jobs=2, sessions=["s-1"], faults=[fault])
    await beat_for_ever(redis, a_worker)
    [worker] = (await client.get("/v1/workers")).json()["workers"]
    assert (worker["worker_id"], worker["active_jobs"], worker["max_jobs"]) == ("w-1", 2, 10)
    assert worker["sessions"] == ["s-1"]
    [fault] = worker["faults"]
    assert (fault["cause"], fault["detail"]) == ("inference_quota", "429 Too Many Requests")


async def test_a_webhook_that_livekit_signed_is_taken_and_any_other_refused(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE, room_name="lobby")
    body = json.dumps({"event": "participant_left", "id": "EV_1", "room": {"name": "lobby"}}).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = api.AccessToken(KEY, SECRET).with_sha256(digest).to_jwt()
    signed = {"authorization": token, "content-type": "application/webhook+json"}
    for _ in range(2):
        assert (await client.post("/v1/livekit/webhook", content=body, headers=signed)).status_code == 200
    assert (await get_session(database, row.id)).next_check_at is not None
    forged = await client.post("/v1/livekit/webhook", content=body + b" ", headers=signed)
    assert_problem(forged, 401, "webhook_forged")
    assert_problem(await client.post("/v1/livekit/webhook", content=body), 401, "webhook_unsigned")


async def test_it_lives_and_shows_its_metrics(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"status": "pass"}
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "session_start_requests_total" in metrics.text
