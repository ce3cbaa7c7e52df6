"""Every route with every kind of key; the table of permissions comes from the routes."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from services.api.app import create_app
from services.api.auth.access import Scope, all_held
from services.api.auth.key_format import Kind
from shared.contracts.identifiers import new_id
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, put_letter, put_session, put_webhook, store_turns
from tests.support.keys import ORIGIN, Route, expired_key, id_in, put_key, routes_of
from tests.unit.making import T0

# Routes that need no key.
OPEN = {
    "GET /livez",
    "GET /readyz",
    "GET /problems/{code}",
    "POST /v1/livekit/webhook",  # LiveKit signs it
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /redoc",
    # The console's page asks for a key itself.
    "GET /console",
    "GET /console/{path:path}",
}
# The body or query that a request needs to get as far as the check of ownership.
ASKED_WITH: dict[str, dict[str, Any]] = {
    "POST /v1/erasures": {"json": {"participant_identity": "anna"}},
    "GET /v1/transcripts/search": {"params": {"q": "hello"}},
    "PATCH /v1/webhook-endpoints/{endpoint_id}": {"json": {"enabled": False}},
    "POST /v1/dead-letter-replays": {"json": {}},
    "POST /v1/webhook-endpoints/{endpoint_id}/replay": {"json": {"since": "2026-01-01T00:00:00Z"}},
}
PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
# Workers and their agent names serve all projects.
OF_NO_PROJECT = {"worker_id", "agent_name"}


def routes(app: FastAPI | None = None) -> list[Route]:
    settings = api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1")
    return list(routes_of(app or create_app(settings)))


def behind_the_door() -> list[Route]:
    return [route for route in routes() if str(route) not in OPEN]


async def ask(
    client: httpx.AsyncClient, route: Route, headers: dict[str, str], ids: dict[str, str]
) -> httpx.Response:
    """Request the route with these ids, and with unknown ids."""
    path = PARAMETER.sub(lambda found: ids.get(found[1]) or new_id(), route.path)
    return await client.request(route.method, path, headers=headers, **ASKED_WITH.get(str(route), {}))


@dataclass
class Tried:
    """The answers of each route to one principal."""

    status: dict[str, int]
    code: dict[str, str | None]
    headers: dict[str, httpx.Headers]


async def try_all(client: httpx.AsyncClient, headers: dict[str, str], **ids: str) -> Tried:
    tried = Tried({}, {}, {})
    for route in behind_the_door():
        answer = await ask(client, route, headers, ids)
        name = str(route)
        tried.status[name] = answer.status_code
        tried.headers[name] = answer.headers
        is_problem = answer.headers["content-type"] == "application/problem+json"
        tried.code[name] = answer.json()["code"] if is_problem else None
    return tried


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    # All routes are tried within a moment, also by one visitor and with keys that are refused.
    unlimited = {"requests_per_minute_visitor": 0, "requests_per_minute_bad_key": 0}
    settings = api_settings(database_url, redis_url, api_auth="keys", **unlimited)
    async with in_process(settings) as client:
        yield client


def test_every_route_names_its_scope_or_is_open_on_purpose() -> None:
    assert {str(route) for route in routes() if route.scope is None} <= OPEN
    assert {str(route) for route in routes()} >= OPEN


def test_a_route_that_forgets_its_scope_would_be_found() -> None:
    settings = api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1")
    app = create_app(settings)
    app.add_api_route("/v1/forgotten", lambda: None)
    assert {str(route) for route in routes(app) if route.scope is None} - OPEN == {"GET /v1/forgotten"}


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_opens_the_routes_of_its_scopes_and_no_others(
    client: httpx.AsyncClient, database: Database, scope: Scope
) -> None:
    tried = await try_all(client, await put_key(database, scope))
    for route in behind_the_door():
        name = str(route)
        if route.scope in all_held({scope}):
            assert tried.status[name] not in (401, 403), name
        else:
            assert (tried.status[name], tried.code[name]) == (403, "scope_missing"), name
            assert f'scope="{route.scope}"' in tried.headers[name]["www-authenticate"]


async def test_without_a_good_key_no_route_is_opened(client: httpx.AsyncClient, database: Database) -> None:
    good = (await put_key(database, Scope.ADMIN))["Authorization"]
    other = (await put_key(database, Scope.ADMIN))["Authorization"]
    bad: list[tuple[str, dict[str, str]]] = [
        ("key_missing", {}),
        ("key_unknown", {"Authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"}),
        ("key_unknown", {"Authorization": f"Bearer rollcall_sk_{'a' * 12}_{'b' * 43}"}),
        ("key_unknown", {"Authorization": good[:32] + other[32:]}),
        ("key_unknown", {"Authorization": good.replace("Bearer", "Basic")}),
        ("key_revoked", await put_key(database, Scope.ADMIN, revoked=True)),
        ("key_expired", await expired_key(database, Scope.ADMIN)),
    ]
    for code, headers in bad:
        tried = await try_all(client, headers)
        assert set(tried.status.values()) == {401}, headers
        assert set(tried.code.values()) == {code}, headers
        assert all(answer["www-authenticate"].startswith("Bearer") for answer in tried.headers.values())


async def test_a_publishable_key_reserves_tokens_from_its_own_pages_and_nothing_else(
    client: httpx.AsyncClient, database: Database
) -> None:
    headers = await put_key(database, kind=Kind.PUBLISHABLE)
    for origin in (None, "https://evil.example.com", ORIGIN + ":444", "null"):
        tried = await try_all(client, {**headers, **({"Origin": origin} if origin else {})})
        assert set(tried.status.values()) == {403}, origin
        assert set(tried.code.values()) == {"origin_not_allowed"}, origin
    tried = await try_all(client, {**headers, "Origin": ORIGIN})
    for route in behind_the_door():
        name = str(route)
        if route.scope is Scope.TOKENS_RESERVE:
            assert tried.status[name] not in (401, 403), name
        else:
            assert (tried.status[name], tried.code[name]) == (403, "scope_missing"), name


async def test_what_is_another_projects_is_not_there_on_any_route(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    theirs = await put_session(database, project="theirs", participant_identity="anna")
    await store_turns(database, [a_turn(theirs.id, text="hello there", participant_identity="anna")])
    # A route with a thing of another kind in its path has to say here how one of another project is made.
    foreign = {
        "session_id": theirs.id,
        "code": "-",
        "key_id": id_in(await put_key(database, project="theirs")),
        "letter_id": await put_letter(redis, theirs.id),
        **await put_webhook(database, project="theirs"),
    }
    named = {name for route in behind_the_door() for name in PARAMETER.findall(route.path)}
    assert named <= set(foreign) | OF_NO_PROJECT
    ours = await put_key(database, Scope.ADMIN, project="ours")
    before = await try_all(client, ours)
    tried = await try_all(client, ours, **foreign)
    for route in behind_the_door():
        if set(PARAMETER.findall(route.path)) - OF_NO_PROJECT:
            assert tried.status[str(route)] == 404, route
            # The answer is the same as for an unknown id.
            assert tried.code[str(route)] == before.code[str(route)], route
    async with database.read() as db:
        kept = await db.get(type(theirs), theirs.id)
    assert kept is not None
    assert (kept.status, kept.version, kept.transcript_erased_at) == (theirs.status, theirs.version, None)
    assert theirs.requested_at == T0


async def test_where_no_key_is_asked_for_every_route_is_open(database_url: str, redis_url: str) -> None:
    async with in_process(api_settings(database_url, redis_url, api_auth="off")) as client:
        tried = await try_all(client, {})
        assert not {401, 403} & set(tried.status.values())


async def test_operations_can_be_left_open_and_nothing_else(database_url: str, redis_url: str) -> None:
    settings = api_settings(database_url, redis_url, api_auth="keys", api_operations="open")
    async with in_process(settings) as client:
        tried = await try_all(client, {})
    opened = {name for name, status in tried.status.items() if status != 401}
    assert opened == {"GET /health", "GET /health/agent", "GET /metrics"}


async def test_an_unknown_route_is_found_out_by_nobody_without_a_key(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/nothing")).json()["code"] == "key_missing"
    assert (await client.patch("/v1/sessions")).json()["code"] == "key_missing"
    assert (await client.get("/nothing")).json()["code"] == "not_found"


async def test_a_body_that_cannot_be_read_is_no_way_round_the_door(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
