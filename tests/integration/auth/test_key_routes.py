"""API keys over HTTP, on both databases."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.api.auth.access import Scope
from services.api.auth.key_format import Kind
from services.api.keys import manage
from services.api.keys.manage import list_keys
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.support.keys import ORIGIN, id_in, put_key
from tests.support.sessions import until


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        yield client


@pytest.fixture
async def admin(database: Database) -> dict[str, str]:
    return await put_key(database, Scope.ADMIN, project="shop")


async def test_a_key_is_made_used_listed_and_revoked(
    client: httpx.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    made = await client.post("/v1/keys", json={"name": "website backend"}, headers=admin)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["project"], body["kind"]) == ("shop", "secret")
    assert body["scopes"] == ["sessions:write", "sessions:read", "transcripts:read"]
    assert made.headers["Cache-Control"] == "no-store"
    key = {"Authorization": f"Bearer {body['key']}"}
    assert (await client.get("/v1/sessions", headers=key)).status_code == 200
    assert_problem(await client.get("/v1/keys", headers=key), 403, "scope_missing")

    await put_key(database, project="another")
    listed = (await client.get("/v1/keys", headers=admin)).json()["keys"]
    assert [each["id"] for each in listed] == [id_in(admin), body["id"]]
    assert all("key" not in each and "key_hash" not in each for each in listed)

    first = await client.delete(f"/v1/keys/{body['id']}", headers=admin)
    assert first.status_code == 200
    assert first.json()["revoked_at"]
    again = await client.delete(f"/v1/keys/{body['id']}", headers=admin)
    assert again.json()["revoked_at"] == first.json()["revoked_at"]

    async def refused() -> bool:
        return (await client.get("/v1/sessions", headers=key)).status_code == 401

    await until(refused, what="the key is refused")


async def test_a_publishable_key_and_one_that_expires(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    wish = {"name": "page", "kind": "publishable", "origins": [ORIGIN], "expires_in_days": 0.5}
    made = (await client.post("/v1/keys", json=wish, headers=admin)).json()
    assert (made["scopes"], made["origins"], made["kind"]) == (["tokens:reserve"], [ORIGIN], Kind.PUBLISHABLE)
    assert made["expires_at"] > made["created_at"]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x", "scopes": ["everything"]}, "scopes.0"),
        ({"name": "x", "kind": "publishable"}, "origins"),
        ({"name": "x", "kind": "publishable", "origins": ["shop.example.com"]}, "origins"),
        ({"name": "x", "kind": "publishable", "origins": [ORIGIN], "scopes": ["admin"]}, "scopes"),
        ({"name": "x", "origins": [ORIGIN]}, "origins"),
        ({"name": "x", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "x", "project": "another"}, "project"),
    ],
)
async def test_what_makes_no_key_is_refused_by_its_field(
    client: httpx.AsyncClient, admin: dict[str, str], wish: dict[str, object], field: str
) -> None:
    refusal = assert_problem(await client.post("/v1/keys", json=wish, headers=admin), 422, "invalid_request")
    assert [error["field"] for error in refusal["errors"]] == [field]


@pytest.mark.parametrize("key_id", ["nobody", "%00", "a" * 3000])
async def test_a_key_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, admin: dict[str, str], key_id: str
) -> None:
    assert_problem(await client.delete(f"/v1/keys/{key_id}", headers=admin), 404, "key_not_found")


@pytest.mark.sql
async def test_a_project_has_a_bounded_number_of_keys(
    client: httpx.AsyncClient, database: Database, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "MAX_KEYS", 3)
    revoked = id_in(await put_key(database, project="shop", revoked=True))
    kept = id_in(await put_key(database, project="shop"))
    await put_key(database, project="another")
    made = await client.post("/v1/keys", json={"name": "third"}, headers=admin)
    assert made.status_code == 201, made.text
    ids = [row.id for row in await list_keys(database, project="shop")]
    assert revoked not in ids
    assert kept in ids
    refusal = await client.post("/v1/keys", json={"name": "fourth"}, headers=admin)
    assert "revoke one first" in assert_problem(refusal, 409, "too_many_keys")["detail"]
    await manage.revoke_key(database, kept, now=utc_now)
    assert (await client.post("/v1/keys", json={"name": "fourth"}, headers=admin)).status_code == 201
