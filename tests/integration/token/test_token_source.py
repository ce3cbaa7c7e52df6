"""LiveKit's TokenSource protocol: each token is for a new room; no agent comes before the caller."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.api.sessions.start import MAX_METADATA_BYTES
from services.api.token.reserve import MAX_PARTICIPANT_BYTES, USABLE_AFTER_ITS_END
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import NOWHERE, SECRET, api_settings, assert_problem, in_process
from tests.integration.conftest import Queued
from tests.integration.rows import count, event_types, get_session, last_event
from tests.support.sessions import until

PAGE = "https://app.example.com"


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = api_settings(
        database_url,
        redis_url,
        allowed_agent_names=["agent", "guide"],
        allowed_deployments=["blue"],
        cors_allowed_origins=[PAGE],
    )
    async with in_process(settings) as client:
        yield client


async def token(client: httpx.AsyncClient, request: Any = None, **changes: Any) -> dict[str, Any]:
    response = await client.post("/v1/token", json={**(request or {}), **changes})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def claims(granted: dict[str, Any]) -> dict[str, Any]:
    options: Any = {"verify_aud": False}
    return jwt.decode(granted["participant_token"], SECRET, algorithms=["HS256"], options=options)


def agent(**wish: Any) -> dict[str, Any]:
    """A request with this wish for an agent, as LiveKit's SDKs pack it."""
    return {"room_config": {"agents": [wish]}}


async def test_nothing_has_to_be_said(client: httpx.AsyncClient, database: Database) -> None:
    for content in (b"", b"{}", b"null", b'{"room_config": {}}', b'{"roomConfig": null}'):
        headers = {"Content-Type": "application/json"} if content else {}
        response = await client.post("/v1/token", content=content, headers=headers)
        await check_reserved(response, database)


async def check_reserved(response: httpx.Response, database: Database) -> None:
    assert response.status_code == 201, response.text
    body = response.json()
    assert body["server_url"] == NOWHERE
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["location"] == f"/v1/sessions/{body['session_id']}"
    assert body["events_url"] == f"/v1/sessions/{body['session_id']}/events"
    stored = await get_session(database, body["session_id"])
    assert (stored.status, stored.room_name) == (SessionStatus.RESERVED, body["room_name"])
    assert stored.project == "default"


async def test_a_reservation_calls_no_agent(
    client: httpx.AsyncClient, database: Database, queued: Queued
) -> None:
    reserved = await token(client)
    requested = (await client.post("/v1/sessions")).json()

    async def published() -> dict[str, list[str]]:
        return await queued()

    # The second is enqueued, and both were published in the order in which they came.
    found = await until(published, what="the requested session is enqueued")
    assert list(found.values()) == [[requested["session_id"]]]
    assert await event_types(database, reserved["session_id"]) == ["session.reserved.v1"]
    stored = await get_session(database, reserved["session_id"])
    assert stored.next_check_at is None, "the sweep has no business with it"


async def test_each_token_is_for_a_fresh_room(client: httpx.AsyncClient) -> None:
    first, second = await token(client), await token(client)
    assert first["room_name"] != second["room_name"]
    assert claims(first)["sub"] != claims(second)["sub"]


async def test_a_reservation_lives_as_long_as_livekit_takes_its_token(
    client: httpx.AsyncClient, database: Database
) -> None:
    granted = await token(client)
    ends = datetime.fromisoformat(granted["expires_at"])
    assert abs(claims(granted)["exp"] - ends.timestamp()) <= 2
    stored = await get_session(database, granted["session_id"])
    assert stored.deadline_at == ends + USABLE_AFTER_ITS_END
    # LiveKit accepts a token for a minute after its end.
    assert timedelta(minutes=1) < USABLE_AFTER_ITS_END
    event = await last_event(database, stored.id)
    assert (event["room_name"], datetime.fromisoformat(event["expires_at"])) == (stored.room_name, ends)


@pytest.mark.parametrize("spelling", ["snake", "camel"])
async def test_the_token_says_who_the_caller_is_and_nothing_of_the_agent(
    client: httpx.AsyncClient, database: Database, spelling: str
) -> None:
    snake = {
        "participant_name": " Ann ",
        "participant_identity": "ann",
        "participant_metadata": "a note",
        "participant_attributes": {"seatNumber": "7"},
        "room_config": {
            "agents": [{"agent_name": "guide", "metadata": '{"customer": 42}', "deployment": ""}]
        },
        "something_new": {"of": "a later version"},
    }
    camel = {
        "participantName": "Ann",
        "participantIdentity": "ann",
        "participantMetadata": "a note",
        "participantAttributes": {"seatNumber": "7"},
        "roomConfig": {"agents": [{"agentName": "guide", "metadata": '{"customer": 42}'}]},
    }
    granted = await token(client, snake if spelling == "snake" else camel)
    found = claims(granted)
    assert (found["sub"], found["name"], found["metadata"]) == ("ann", "Ann", "a note")
    assert found["attributes"] == {"seatNumber": "7"}
    assert "roomConfig" not in found, "LiveKit would dispatch a second agent"
    assert found["video"] == {
        "roomJoin": True,
        "room": granted["room_name"],
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    assert granted["participant_name"] == "Ann"
    stored = await get_session(database, granted["session_id"])
    assert (stored.agent_name, stored.client_metadata) == ("guide", {"customer": 42})
    assert (stored.participant_identity, stored.participant_name) == ("ann", "Ann")


async def test_the_agents_metadata_becomes_the_sessions(
    client: httpx.AsyncClient, database: Database
) -> None:
    for metadata, stored_as in {
        '{"a": 1}': {"a": 1},
        "plain words": "plain words",
        "[1, 2]": "[1, 2]",
        "{not json": "{not json",
        "": {},
    }.items():
        granted = await token(client, agent(metadata=metadata))
        assert (await get_session(database, granted["session_id"])).client_metadata == stored_as


async def test_an_allowed_deployment_is_the_sessions(client: httpx.AsyncClient, database: Database) -> None:
    granted = await token(client, agent(deployment="blue"))
    assert (await get_session(database, granted["session_id"])).deployment == "blue"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"room_name": "lobby"}, "room_name"),
    ({"roomName": "lobby"}, "room_name"),
    ({"room_config": {"name": "lobby"}}, "room_config.name"),
    ({"room_config": {"egress": {"room": {}}}}, "room_config.egress"),
    ({"room_config": {"agents": [{}, {}]}}, "room_config.agents"),
    (agent(agent_name="nobody"), "room_config.agents.0.agent_name"),
    (agent(deployment="green"), "room_config.agents.0.deployment"),
    (agent(metadata="x" * (MAX_METADATA_BYTES + 1)), "room_config.agents.0.metadata"),
    (agent(metadata='{"a":' * 6000 + "1" + "}" * 6000), "room_config.agents.0.metadata"),
    (agent(metadata="\x00"), "room_config.agents.0.metadata"),
    ({"participant_identity": "agent-AJ_1"}, "participant_identity"),
    ({"participant_identity": "x" * 257}, "participant_identity"),
    ({"participant_attributes": {"lk.agent.state": "speaking"}}, "participant_attributes"),
    ({"participant_attributes": {"rollcall.session": "1"}}, "participant_attributes"),
    ({"participant_attributes": {"a": 1}}, "participant_attributes.a"),
    ({"participant_metadata": "x" * MAX_PARTICIPANT_BYTES}, "participant_metadata"),
    ({"participant_attributes": {"a": "é" * (MAX_PARTICIPANT_BYTES // 2)}}, "participant_metadata"),
    ({"participant_name": 7}, "participant_name"),
]


async def test_what_a_client_may_not_set_is_refused_by_name(
    client: httpx.AsyncClient, database: Database
) -> None:
    for request, field in REFUSED:
        problem = assert_problem(await client.post("/v1/token", json=request), 422, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == [field]
    assert await count(database, "session") == 0


async def test_what_has_no_meaning_here_is_ignored_and_named(client: httpx.AsyncClient) -> None:
    config = {
        "emptyTimeout": 30,
        "max_participants": 2,
        "metadata": "",
        "something_new": 1,
        "agents": [{"restart_policy": "JRP_ON_FAILURE", "attributes": {"a": "b"}}],
    }
    assert (await token(client, room_config=config))["ignored"] == [
        "room_config.empty_timeout",
        "room_config.max_participants",
        "room_config.agents.0.attributes",
        "room_config.agents.0.restart_policy",
    ]
    assert (await token(client))["ignored"] == []


async def test_livekits_sdks_find_it_under_the_path_of_its_development_server_too(
    client: httpx.AsyncClient, database: Database
) -> None:
    answer = await client.post(
        "/api/v2/sandbox/connection-details", json={}, headers={"X-Sandbox-ID": "anything"}
    )
    # Some versions of the Flutter SDK take no other status.
    assert answer.status_code == 200
    stored = await get_session(database, answer.json()["session_id"])
    assert stored.status == SessionStatus.RESERVED


async def test_a_page_of_an_allowed_origin_may_call_and_no_other(client: httpx.AsyncClient) -> None:
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    allowed = await client.options("/v1/token", headers={"Origin": PAGE, **ask})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in allowed.headers
    refused = await client.options("/v1/token", headers={"Origin": "https://evil.example.com", **ask})
    assert "access-control-allow-origin" not in refused.headers
    answer = await client.post("/v1/token", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"]
    assert {"Location", "Retry-After", "Idempotency-Replayed"} <= set(exposed.split(", "))
    problem = await client.post("/v1/token", json={"room_name": "x"}, headers={"Origin": PAGE})
    assert problem.headers["access-control-allow-origin"] == PAGE, "a page is told what was wrong"


async def test_a_reservation_may_be_ended(client: httpx.AsyncClient, database: Database) -> None:
    session_id = (await token(client))["session_id"]
    assert (await client.delete(f"/v1/sessions/{session_id}")).json()["status"] == "cancelled"
    stored = await get_session(database, session_id)
    assert stored.next_check_at is not None, "its caller may be in the room: it is closed"
