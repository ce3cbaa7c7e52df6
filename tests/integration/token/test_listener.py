"""Who may listen in, and what the token for it allows."""

from collections.abc import AsyncIterator

import httpx
import jwt
import pytest

from services.api.auth.access import Scope
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import KEY, SECRET, api_settings, in_process
from tests.integration.rows import put_session
from tests.support.keys import bare_key
from tests.unit.making import T0


@pytest.fixture
async def api(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        yield client


async def listen(api: httpx.AsyncClient, key: str, session_id: str) -> httpx.Response:
    return await api.post(f"/v1/sessions/{session_id}/listeners", headers={"Authorization": f"Bearer {key}"})


async def test_a_listener_hears_one_room_and_is_seen_by_nobody(
    api: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE, active_at=T0)
    answer = await listen(api, await bare_key(database, Scope.TRANSCRIPTS_READ), row.id)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    granted = answer.json()
    claims = jwt.decode(granted["participant_token"], SECRET, algorithms=["HS256"], issuer=KEY)
    assert claims["video"] == {
        "roomJoin": True,
        "room": row.room_name,
        "hidden": True,
        "canSubscribe": True,
        "canPublish": False,
        "canPublishData": False,
        "canUpdateOwnMetadata": False,
    }
    assert claims["sub"].startswith("listener-")
    assert claims["sub"] != row.participant_identity
    assert claims["exp"] - claims["nbf"] <= 60
    assert granted["room_name"] == row.room_name
    trail = await api.get(
        "/v1/audit", headers={"Authorization": f"Bearer {await bare_key(database, Scope.ADMIN)}"}
    )
    assert [(act["action"], act["target"]) for act in trail.json()["entries"]] == [
        ("session.listen_in", row.id)
    ]


async def test_who_may_not_read_words_may_not_hear_them(api: httpx.AsyncClient, database: Database) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE, active_at=T0)
    viewer = await bare_key(database, Scope.SESSIONS_READ, Scope.SESSIONS_WRITE)
    refused = await listen(api, viewer, row.id)
    assert (refused.status_code, refused.json()["missing_scope"]) == (403, "transcripts:read")


@pytest.mark.parametrize("status", sorted(set(SessionStatus) - {SessionStatus.ACTIVE}))
async def test_only_an_active_session_can_be_heard(
    api: httpx.AsyncClient, database: Database, status: SessionStatus
) -> None:
    row = await put_session(database, status=status)
    refused = await listen(api, await bare_key(database, Scope.TRANSCRIPTS_READ), row.id)
    assert (refused.status_code, refused.json()["code"]) == (409, "session_not_active")


async def test_another_projects_session_is_not_there(api: httpx.AsyncClient, database: Database) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE, project="other")
    refused = await listen(api, await bare_key(database, Scope.TRANSCRIPTS_READ), row.id)
    assert refused.status_code == 404
