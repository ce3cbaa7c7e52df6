"""Profiles in the database: versions, who wins, what is refused, and how one reaches an agent."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from services.dispatcher.repository import Repository
from shared.contracts.profiles import Profile
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.admission.reservations import request_reserved
from shared.core.profiles.profiles import add_version, read_version
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.dispatcher.dispatching import take
from tests.integration.rows import get_session, put_session
from tests.unit.making import T0, FakeClock

ROUTE = "/v1/agents/agent"
TOOL = {"name": "look_up", "description": "Look it up.", "url": "https://shop.example/tools"}


@pytest.fixture
async def api(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url)) as client:
        yield client


@pytest.fixture
def repository(database: Database) -> Repository:
    return Repository(database, retry_delay_s=1.0, now=FakeClock())


async def stored(database: Database, *profiles: Profile) -> None:
    """Store these versions, from 1, of the agent name that sessions of the tests have."""
    for version, profile in enumerate(profiles, 1):
        async with database.write() as db:
            await add_version(db, "agent", profile, version=version, key_id=None, now=T0)


async def test_the_list_has_the_newest_version_of_each_name_by_pages(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/agents")).json() == {"profiles": [], "next_cursor": None}
    for name, versions in (("shop", 2), ("bank", 1), ("โรงแรม", 3)):
        for version in range(versions):
            answer = await api.put(f"/v1/agents/{name}", json={"greeting": f"{name} {version + 1}"})
            assert answer.status_code == 200
    pages: list[list[tuple[str, int, str]]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        page = (
            await api.get("/v1/agents", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        pages.append([(p["agent_name"], p["version"], p["profile"]["greeting"]) for p in page["profiles"]])
        cursor = page["next_cursor"]
    assert pages == [[("bank", 1, "bank 1"), ("shop", 2, "shop 2")], [("โรงแรม", 3, "โรงแรม 3")]]
    assert (await api.get("/v1/agents", params={"limit": 0})).status_code == 422


async def test_each_put_makes_a_version_that_stays(api: httpx.AsyncClient) -> None:
    unknown = await api.get(ROUTE)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "profile_not_found")
    for version, greeting in enumerate(("Hi", "Hello"), 1):
        answer = await api.put(ROUTE, json={"greeting": greeting, "http_tools": [TOOL]})
        assert (answer.status_code, answer.headers["etag"]) == (200, f'"{version}"')
    newest = (await api.get(ROUTE)).json()
    assert (newest["agent_name"], newest["version"], newest["key_id"]) == ("agent", 2, None)
    assert newest["profile"]["greeting"] == "Hello"
    assert newest["profile"]["http_tools"][0]["timeout_s"] == 10
    earlier = await api.get(ROUTE, params={"version": 1})
    assert (earlier.headers["etag"], earlier.json()["profile"]["greeting"]) == ('"1"', "Hi")
    for version in (3, 2**31 - 1):
        assert (await api.get(ROUTE, params={"version": version})).status_code == 404
    assert (await api.get(ROUTE, params={"version": 2**31})).status_code == 422
    assert (await api.get("/v1/agents/other")).status_code == 404


async def test_whoever_has_read_an_older_version_loses(api: httpx.AsyncClient) -> None:
    first = await api.put(ROUTE, json={"greeting": "1"}, headers={"If-None-Match": "*"})
    assert first.status_code == 200
    again = await api.put(ROUTE, json={"greeting": "1"}, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["code"]) == (412, "profile_changed")
    second = await api.put(ROUTE, json={"greeting": "2"}, headers={"If-Match": first.headers["etag"]})
    assert second.json()["version"] == 2
    late = await api.put(ROUTE, json={"greeting": "3"}, headers={"If-Match": first.headers["etag"]})
    assert (late.status_code, late.json()["code"]) == (412, "profile_changed")
    assert "version 2 is the newest" in late.json()["detail"]
    assert (await api.get(ROUTE)).json()["profile"]["greeting"] == "2"


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "2"},
        {"If-Match": '"1", "2"'},
        {"If-None-Match": '"1"'},
        {"If-Match": "*", "If-None-Match": "*"},
    ],
)
async def test_a_precondition_that_is_none_is_refused(
    api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await api.put(ROUTE, json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await api.get(ROUTE)).status_code == 404


@pytest.mark.sql
async def test_of_writers_at_once_each_gets_a_version_and_one_of_those_that_read_the_same_wins(
    api: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*(api.put(ROUTE, json={"greeting": str(n)}) for n in range(4)))
    assert sorted(answer.json()["version"] for answer in answers) == [1, 2, 3, 4]
    headers = {"If-Match": '"4"'}
    answers = await asyncio.gather(*(api.put(ROUTE, json={}, headers=headers) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        ({"greting": "Hi"}, "greting"),
        ({"http_tools": [{**TOOL, "url": "nowhere"}]}, "http_tools.0.url"),
        ({"http_tools": [{**TOOL, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8I"}]}, "http_tools.0.secret"),
        (
            {"mcp_servers": [{"url": "https://x/mcp", "headers": {"A": "Bearer abc"}}]},
            "mcp_servers.0.headers.A",
        ),
        ({"mcp_servers": [{"url": "https://x/mcp", "headers": {"A": "${PATH}"}}]}, "mcp_servers.0.headers.A"),
        ({"http_tools": [{**TOOL, "parameters": {"type": "string"}}]}, "http_tools.0.parameters"),
        (
            {"http_tools": [{**TOOL, "parameters": {"type": "object", "x": "\x00"}}]},
            "http_tools.0.parameters",
        ),
        ({"models": {"llm": "gpt"}}, "models.llm"),
        ({"limits": {"silence_s": -1}}, "limits.silence_s"),
        ({"instructions": "x" * 16_385}, "instructions"),
    ],
)
async def test_a_fault_is_named_by_its_field_and_stores_nothing(
    api: httpx.AsyncClient, profile: dict[str, Any], field: str
) -> None:
    answer = await api.put(ROUTE, json=profile)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert "whsec_" not in answer.text
    assert (await api.get(ROUTE)).status_code == 404


async def test_a_profile_that_would_not_fit_into_a_dispatch_is_refused(api: httpx.AsyncClient) -> None:
    letters = Random(1)
    tools = [
        {
            **TOOL,
            "name": f"tool_{n}",
            "description": "".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(1000)),
        }
        for n in range(32)
    ]
    answer = await api.put(ROUTE, json={"http_tools": tools})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


async def test_a_session_runs_with_the_version_that_was_the_newest_in_each_attempt(
    api: httpx.AsyncClient, database: Database, repository: Repository
) -> None:
    before = (await api.post("/v1/sessions", json={})).json()["session_id"]
    await api.put(ROUTE, json={"greeting": "Hi", "instructions": "Be brief."})
    session_id = (await api.post("/v1/sessions", json={})).json()["session_id"]
    await api.put(ROUTE, json={"greeting": "Hello"})
    assert (await api.get(f"/v1/sessions/{before}")).json()["profile_version"] is None
    assert (await api.get(f"/v1/sessions/{session_id}")).json()["profile_version"] == 1
    order = (await take(repository, await get_session(database, session_id))).order
    assert order.profile_version == 1
    assert order.profile == Profile(greeting="Hi", instructions="Be brief.")
    old = (await take(repository, await get_session(database, before))).order
    assert (old.profile_version, old.profile) == (None, None)


async def test_a_sessions_own_instructions_come_first(database: Database, repository: Repository) -> None:
    await stored(database, Profile(greeting="Hi", instructions="Be brief."))
    row = await put_session(database, instructions="Be kind.")
    order = (await take(repository, row)).order
    assert order.instructions == "Be kind."
    assert order.profile == Profile(greeting="Hi")


async def test_a_reservation_gets_its_version_when_its_caller_comes(database: Database) -> None:
    await stored(database, Profile())
    row = await put_session(database, status=SessionStatus.RESERVED, next_check_at=None)
    assert row.profile_version is None
    await stored_next(database)
    async with database.write() as db:
        await request_reserved(db, row, limits=SessionLimitSettings(), join_budget_s=15, now=T0, joined=True)
    assert (await get_session(database, row.id)).profile_version == 2


async def stored_next(database: Database) -> None:
    async with database.write() as db:
        newest = await read_version(db, "agent")
        assert newest is not None
        await add_version(db, "agent", Profile(), version=newest.version + 1, key_id=None, now=T0)
