"""Starting sessions over HTTP, and what the API refuses, on both databases."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import httpx
import jwt
import pytest
from livekit import api
from prometheus_client import REGISTRY

from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault
from shared.platform.database.database import Database
from tests.integration.api_client import (
    KEY,
    NOWHERE,
    PROBLEM,
    SECRET,
    api_settings,
    assert_problem,
    beat_for_ever,
    in_process,
    start,
)
from tests.integration.conftest import Queued
from tests.integration.rows import event_types, get_session, put_session
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat


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
        ({"room_name": "r" * 257}, "room_name"),
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
        ({"metadata": "x" * 32_769}, "metadata"),
        ({"metadata": "\x00"}, "metadata"),
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


@pytest.mark.sql
async def test_of_two_who_want_the_same_room_at_once_one_gets_it(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post("/v1/sessions", json={"room_name": "lobby"}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]


async def test_starts_and_refusals_are_counted(client: httpx.AsyncClient) -> None:
    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("session_start_requests_total", {"outcome": outcome}) or 0.0

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


async def test_the_workers_that_live_now_are_listed(client: httpx.AsyncClient, redis: Any) -> None:
    assert (await client.get("/v1/workers")).json() == {"workers": [], "lost": []}
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
