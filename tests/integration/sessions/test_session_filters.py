"""Filters find sessions, and no parameter is silently ignored, on both databases."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import assert_problem, start
from tests.integration.rows import put_session
from tests.unit.making import T0

pytestmark = pytest.mark.sql

S = SessionStatus


@pytest.fixture
async def rows(database: Database) -> dict[str, str]:
    """Sessions by the names that the tests have for them; the stranger's is of another project."""
    hour = timedelta(hours=1)
    failed = {"status": S.FAILED, "cause": Cause.NO_WORKER_REGISTERED}
    made: dict[str, dict[str, Any]] = {
        "old": {"agent_name": "front desk", "requested_at": T0 - 3 * hour, **failed},
        "canary": {"agent_name": "front desk", "requested_at": T0 - 2 * hour, "canary": True},
        "lobby": {"room_name": "lobby", "requested_at": T0 - hour, "status": S.ACTIVE},
        "ann": {"participant_identity": "ann", "requested_at": T0, "status": S.ENDED},
        "died": {
            "requested_at": T0,
            "status": S.FAILED,
            "cause": Cause.WORKER_DIED,
            "attempt": {"worker_id": "W_1", "chosen_worker_id": "W_2"},
            "client_metadata": {"customer": 42, "plan": "gold=1", "it's": "odd"},
        },
    }
    stranger: dict[str, Any] = {
        "project": "other",
        "agent_name": "front desk",
        "room_name": "lobby",
        "attempt": {"worker_id": "W_1"},
        "client_metadata": {"customer": 42},
        **failed,
    }
    await put_session(database, **stranger)
    return {name: (await put_session(database, **row)).id for name, row in made.items()}


def at(hours: float) -> str:
    return (T0 + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


FOUND: list[tuple[list[tuple[str, str]], str]] = [
    ([("agent_name", "front desk")], "canary old"),
    ([("agent_name", "front desk"), ("status", "failed")], "old"),
    ([("agent_name", "nobody")], ""),
    ([("room_name", "lobby")], "lobby"),
    ([("participant_identity", "ann")], "ann"),
    ([("cause", "worker_died")], "died"),
    ([("cause", "worker_died"), ("cause", "no_worker_registered")], "died old"),
    ([("cause", "worker_died,no_worker_registered")], "died old"),
    ([("status", "active"), ("status", "ended")], "ann lobby"),
    ([("status", "active,ended"), ("status", "failed")], "died ann lobby old"),
    ([("since", at(-1))], "died ann lobby"),
    ([("until", at(-1))], "canary old"),
    ([("since", at(-2)), ("until", at(0))], "lobby canary"),
    ([("since", at(1))], ""),
    ([("canary", "true"), ("agent_name", "front desk")], "canary"),
    ([("worker_id", "W_1")], "died"),
    ([("worker_id", "W_2"), ("status", "failed")], "died"),
    ([("worker_id", "W_3")], ""),
    ([("metadata", "customer=42")], "died"),
    ([("metadata", "customer=4")], ""),
    ([("metadata", "customer=42"), ("metadata", "plan=gold=1")], "died"),
    ([("metadata", "customer=42"), ("metadata", "plan=silver")], ""),
    ([("metadata", "it's=odd")], "died"),
    ([("metadata", "nothing=")], ""),
    ([], "died ann lobby canary old"),
]


async def test_sessions_are_found_by_all_that_people_ask_for_and_only_their_projects(
    client: httpx.AsyncClient, rows: dict[str, str]
) -> None:
    for query, found in FOUND:
        assert await page_through(client, query) == [rows[name] for name in found.split()], query


async def page_through(client: httpx.AsyncClient, query: list[tuple[str, str]]) -> list[str]:
    seen: list[str] = []
    cursor: list[tuple[str, str]] = []
    while True:
        page = (await client.get("/v1/sessions", params=[*query, ("limit", "1"), *cursor])).json()
        seen += [session["session_id"] for session in page["sessions"]]
        if page["next_cursor"] is None:
            return seen
        cursor = [("cursor", page["next_cursor"])]


REFUSED = [
    ("/v1/sessions?agentname=x", "agentname", "did you mean agent_name?"),
    ("/v1/sessions?Status=failed", "Status", "did you mean status?"),
    ("/v1/sessions?project=other", "project", "there are: agent_name, canary, cause,"),
    ("/v1/sessions?status=failed&agent_name=a&agent_name=b", "agent_name", "more than once"),
    ("/v1/sessions?limit=1&limit=2", "limit", "more than once"),
    ("/v1/sessions?status=faild", "status", "did you mean failed?"),
    ("/v1/sessions?status=failed,actve", "status", "did you mean active?"),
    ("/v1/sessions?cause=worker_dead", "cause", "did you mean worker_died?"),
    ("/v1/sessions?since=yesterday", "since", ""),
    ("/v1/sessions?agent_name=%00", "agent_name", "NUL"),
    ("/v1/sessions?metadata=customer", "metadata", "pattern"),
    ('/v1/sessions?metadata=a"b=1', "metadata", "pattern"),
    ("/v1/sessions/x?verbose=1", "verbose", "no such parameter; there is none"),
    ("/v1/sessions/x/events?after=1", "after", "there is none"),
    ("/v1/sessions/x/transcript?fromat=txt", "fromat", "did you mean format?"),
    ("/v1/transcripts/search?q=x&agent=y", "agent", "did you mean agent_name?"),
    ("/v1/workers?agent_name=x", "agent_name", "there is none"),
    ("/v1/webhook-endpoints?limit=1", "limit", "there is none"),
    ("/livez?deep=1", "deep", "there is none"),
]


async def test_a_parameter_that_means_nothing_is_refused_and_what_was_meant_is_said(
    client: httpx.AsyncClient,
) -> None:
    for path, field, said in REFUSED:
        body = assert_problem(await client.get(path), 422, "invalid_request")
        [error] = body["errors"]
        assert error["field"] == field
        assert said in error["problem"], path


async def test_every_method_refuses_what_it_would_ignore(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database)
    for method, path in (
        ("POST", "/v1/sessions"),
        ("POST", "/v1/token"),
        ("DELETE", f"/v1/sessions/{row.id}"),
    ):
        assert_problem(await client.request(method, f"{path}?dry_run=1"), 422, "invalid_request")
    assert (await client.get(f"/v1/sessions/{row.id}")).json()["status"] == row.status


async def test_what_others_call_with_parameters_of_their_own_is_left_alone(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/livekit/webhook?tenant=1", content=b"{}")).status_code == 401
    assert (await client.get("/metrics?format=prometheus")).status_code == 200
    assert (await client.get("/docs?theme=dark")).status_code == 200
    asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
    assert (await client.options("/v1/sessions?x=1", headers=asked)).status_code != 422


WISHES: list[tuple[dict[str, Any], str, str]] = [
    ({"agent": "x"}, "agent", "did you mean agent_name?"),
    ({"Room_Name": "x"}, "Room_Name", "did you mean room_name?"),
    ({"zzz": 1}, "zzz", "no such field; there are: agent_name, canary, deployment, instructions,"),
    ({"models": {"lmm": "openai/gpt-5-mini"}}, "models.lmm", "did you mean llm?"),
    ({"models": {"llm": "openai gpt-5-mini"}}, "models.llm", "did you mean openai/gpt-5-mini?"),
    ({"models": {"llm": "gpt-5-mini"}}, "models.llm", "did you mean openai/gpt-5-mini?"),
    ({"mode": "realtme"}, "mode", "did you mean realtime?"),
    ({"require": "redy"}, "require", "did you mean ready?"),
    ({"participant_identity": "漢" * 86}, "participant_identity", "256 bytes in UTF-8; it has 258"),
    ({"room_name": "漢" * 86}, "room_name", "256 bytes in UTF-8; it has 258"),
    ({"participant_name": "a\u202eb"}, "participant_name", "a direction override (U+202E"),
    ({"metadata": {"x": "漢" * 11_000}}, "metadata", "at most 32768 bytes in UTF-8; it has 330"),
]


async def test_a_refused_field_says_what_is_allowed_and_what_was_probably_meant(
    client: httpx.AsyncClient,
) -> None:
    for wish, field, said in WISHES:
        body = assert_problem(await client.post("/v1/sessions", json=wish), 422, "invalid_request")
        [error] = body["errors"]
        assert error["field"] == field
        assert said in error["problem"]


async def test_a_name_of_256_bytes_comes_back_as_it_was_given(client: httpx.AsyncClient) -> None:
    name = "漢" * 84 + "\u3000" + "x"
    assert len(name.encode()) == 256
    started = await start(client, room_name=name, participant_identity=name, participant_name=name)
    assert (started["room_name"], started["participant_identity"]) == (name, name)
    page = (await client.get("/v1/sessions", params={"room_name": name})).json()
    assert [session["participant_identity"] for session in page["sessions"]] == [name]
