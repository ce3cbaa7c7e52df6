"""The audit trail: what is changed is in it, with who did it and how, and nobody reads another project's."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.api.app import create_app
from services.api.audit.actions import ACTIONS, UNAUDITED
from services.api.auth.access import Scope
from services.api.console.cookies import CONSOLE_HEADER
from services.api.growth import Growth
from services.api.keys.__main__ import main as keys_program
from shared.contracts.identifiers import new_id
from shared.core.audit.tables import AuditRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import count, put_session, put_webhook
from tests.support.keys import id_in, put_key, routes_of

READS = {"GET", "HEAD", "OPTIONS"}


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        client.base_url = httpx.URL("http://localhost:8080")
        yield client


async def trail(client: httpx.AsyncClient, key: dict[str, str], **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit", headers=key, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def test_every_route_that_changes_something_is_an_act_or_is_left_out_on_purpose() -> None:
    app = create_app(api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1"))
    changing = {str(route) for route in routes_of(app) if route.method not in READS}
    assert changing == set(ACTIONS) | UNAUDITED
    assert not set(ACTIONS) & UNAUDITED
    assert len(set(ACTIONS.values())) == len(ACTIONS)


@pytest.mark.sql
async def test_who_did_what_to_what_is_told_newest_first(
    client: httpx.AsyncClient, database: Database
) -> None:
    admin = await put_key(database, Scope.ADMIN)
    session = await put_session(database)
    hook = await put_webhook(database, project="default")
    made = (await client.post("/v1/keys", headers=admin, json={"name": "shop"})).json()
    await client.delete(f"/v1/sessions/{session.id}", headers=admin)
    path = f"/v1/webhook-endpoints/{hook['endpoint_id']}/deliveries/{hook['event_id']}/replay"
    await client.post(path, headers=admin)
    await client.delete(f"/v1/keys/{made['id']}", headers=admin)
    told = await trail(client, admin)
    assert [(each["action"], each["target"]) for each in told] == [
        ("key.revoke", made["id"]),
        ("delivery.replay", f"{hook['endpoint_id']}/{hook['event_id']}"),
        ("session.end", session.id),
        ("key.create", made["id"]),
    ]
    assert {(each["via"], each["actor"], each["key_name"]) for each in told} == {
        ("api", id_in(admin), "test")
    }
    assert made["key"] not in json.dumps(told)


@pytest.mark.sql
async def test_the_trail_is_read_by_action_actor_target_and_time(
    client: httpx.AsyncClient, database: Database
) -> None:
    anna, ben = await put_key(database, Scope.ADMIN), await put_key(database, Scope.ADMIN)
    for key in (anna, ben, anna):
        await client.post("/v1/keys", headers=key, json={"name": "shop"})
    made = (await trail(client, anna))[0]["target"]
    await client.delete(f"/v1/keys/{made}", headers=ben)
    assert len(await trail(client, anna, actor=id_in(anna))) == 2
    assert [each["action"] for each in await trail(client, anna, target=made)] == ["key.revoke", "key.create"]
    assert len(await trail(client, anna, action="key.create")) == 3
    soon, before = (utc_now() + timedelta(hours=1)).isoformat(), (utc_now() - timedelta(hours=1)).isoformat()
    assert len(await trail(client, anna, since=before, until=soon)) == 4
    assert await trail(client, anna, since=soon) == await trail(client, anna, until=before) == []
    first = (await client.get("/v1/audit", headers=anna, params={"limit": 3})).json()
    rest = await trail(client, anna, cursor=first["next_cursor"])
    assert [*first["entries"], *rest] == await trail(client, anna)


async def test_what_was_refused_was_not_done(client: httpx.AsyncClient, database: Database) -> None:
    admin = await put_key(database, Scope.ADMIN)
    viewer = await put_key(database, Scope.SESSIONS_READ)
    assert (await client.post("/v1/keys", headers=viewer, json={"name": "x"})).status_code == 403
    assert (await client.post("/v1/keys", headers=admin, json={"nam": "x"})).status_code == 422
    assert (await client.delete(f"/v1/sessions/{new_id()}", headers=admin)).status_code == 404
    assert (await client.post("/v1/keys", json={"name": "x"})).status_code == 401
    assert (await client.post("/v1/sessions", headers=admin, json={})).status_code == 202
    assert await trail(client, admin) == []


async def test_each_project_has_its_own_trail(client: httpx.AsyncClient, database: Database) -> None:
    ours, theirs = [await put_key(database, Scope.ADMIN, project=name) for name in ("ours", "theirs")]
    await client.post("/v1/keys", headers=theirs, json={"name": "x"})
    assert await trail(client, ours) == []
    assert len(await trail(client, theirs)) == 1


async def test_a_browser_is_told_from_a_program(client: httpx.AsyncClient, database: Database) -> None:
    admin = await put_key(database, Scope.ADMIN)
    ours = {CONSOLE_HEADER: "1", "Sec-Fetch-Site": "same-origin"}
    await client.post("/v1/login", headers={**admin, **ours})
    await client.post("/v1/keys", headers=ours, json={"name": "x"})
    await client.post("/v1/logout", headers=ours)
    told = await trail(client, admin)
    assert [each["action"] for each in told] == ["console.logout", "key.create", "console.login"]
    assert {(each["via"], each["actor"]) for each in told} == {("console", id_in(admin))}


async def test_keys_made_on_the_database_are_in_it(
    client: httpx.AsyncClient, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert await asyncio.to_thread(keys_program, ["create", "--name", "first"]) == 0
    [told] = await trail(client, await put_key(database, Scope.ADMIN))
    assert (told["action"], told["via"], told["actor"]) == ("key.create", "command_line", "anna")
    assert await asyncio.to_thread(keys_program, ["revoke", told["target"]]) == 0
    assert (await trail(client, await put_key(database, Scope.ADMIN)))[0]["action"] == "key.revoke"


async def test_an_act_stands_where_the_trail_cannot_be_written(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr("services.api.audit.record.note_act", fail)
    admin = await put_key(database, Scope.ADMIN)
    assert (await client.post("/v1/keys", headers=admin, json={"name": "x"})).status_code == 201
    assert await count(database, "audit_entry") == 0


@pytest.mark.sql
async def test_entries_past_their_retention_are_deleted(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    now = utc_now()
    async with database.write() as db:
        for made in ("00000000-0000-7000-8000-000000000000", new_id()):
            db.add(AuditRow(id=made, project="default", at=now, via="api", action="key.create"))
    forever = api_settings(database_url, redis_url, audit_retention_days=0)
    for settings, left in ((forever, 2), (api_settings(database_url, redis_url), 1)):
        growth = Growth(database=database, redis=redis, settings=settings, holder="test", now=utc_now)
        await growth.step()
        assert await count(database, "audit_entry") == left
