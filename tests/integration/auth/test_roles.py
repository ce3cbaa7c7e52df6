"""What each role is shown: a viewer gets no words of callers from any route."""

from typing import Final

import httpx
import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from services.api.auth.roles import SCOPES_OF, AccessRole
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.integration.auth.test_authorisation import ASKED_WITH, PARAMETER, behind_the_door
from tests.integration.rows import a_turn, put_letter, put_session, put_webhook, store_turns
from tests.support.keys import put_key

SAID: Final = "swordfish"


async def words_everywhere(database: Database, redis: Redis) -> dict[str, str]:
    """Store words of a caller wherever Rollcall stores any; return the ids by which routes find them."""
    session = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(session.id, 1, text=f"My secret is {SAID}.")])
    letter = await put_letter(redis, session.id, text=SAID)
    return {"session_id": session.id, "letter_id": letter, **await put_webhook(database, project="default")}


async def told(client: httpx.AsyncClient, headers: dict[str, str], ids: dict[str, str]) -> set[str]:
    """Return the routes that answer with the words, to a request that only reads."""
    found = set()
    for route in behind_the_door():
        if route.method != "GET":
            continue
        path = PARAMETER.sub(lambda match: ids.get(match[1], "unknown"), route.path)
        answer = await client.get(path, headers=headers, **ASKED_WITH.get(str(route), {}))
        if SAID in answer.text:
            found.add(str(route))
    return found


@pytest.mark.parametrize("role", list(AccessRole))
async def test_only_roles_that_may_read_words_are_told_any(
    database: Database,
    database_url: str,
    redis: Redis,
    redis_url: str,
    role: AccessRole,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ASKED_WITH, "GET /v1/transcripts/search", {"params": {"q": SAID}})
    ids = await words_everywhere(database, redis)
    spoken = {"GET /v1/sessions/{session_id}/transcript", "GET /v1/transcripts/search"}
    letters = {"GET /v1/dead-letters", "GET /v1/dead-letters/{letter_id}"}
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        found = await told(client, await put_key(database, *SCOPES_OF[role]), ids)
    if role is AccessRole.VIEWER:
        assert found == set()
    elif role is AccessRole.ADMIN:
        assert spoken < found <= spoken | letters
    else:
        assert found == spoken


async def test_a_key_is_made_for_a_role_and_says_which(
    database: Database, database_url: str, redis_url: str
) -> None:
    admin = await put_key(database, Scope.ADMIN)
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        for role in AccessRole:
            answer = await client.post("/v1/keys", json={"name": "anna", "role": role}, headers=admin)
            assert answer.status_code == 201, answer.text
            assert answer.json()["scopes"] == list(SCOPES_OF[role])
            key = {"Authorization": f"Bearer {answer.json()['key']}"}
            assert (await client.get("/v1/me", headers=key)).json()["role"] == role
        for more in ({"scopes": ["admin"]}, {"kind": "publishable", "origins": ["https://a.example.com"]}):
            wish = {"name": "anna", "role": "viewer", **more}
            refused = assert_problem(
                await client.post("/v1/keys", json=wish, headers=admin), 422, "invalid_request"
            )
            assert refused["errors"][0]["field"] == "role"
