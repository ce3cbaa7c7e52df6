"""An event stream lasts as long as its key may read it, and no project takes all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update
from sqlmodel import col

from services.api.auth.access import Scope
from services.api.keys.manage import revoke_key
from services.api.live import hub as live
from shared.contracts.sessions import SessionStatus
from shared.core.api_keys.tables import ApiKeyRow
from shared.core.sessions.tables import EventRow, SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, served
from tests.integration.rows import put_session
from tests.support.event_streams import following
from tests.support.keys import put_key


@pytest.fixture(autouse=True)
def often_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 0.05)


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(api_settings(database_url, redis_url, api_auth="keys")) as opened:
        yield opened


def key_id_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].split("_")[2]


async def revoked(database: Database, key_id: str) -> None:
    await revoke_key(database, key_id, now=utc_now)


async def expired(database: Database, key_id: str) -> None:
    await change(database, key_id, expires_at=utc_now() - timedelta(seconds=1))


async def away(database: Database, key_id: str) -> None:
    async with database.write() as db:
        await db.execute(delete(ApiKeyRow).where(col(ApiKeyRow.id) == key_id))


async def of_fewer_scopes(database: Database, key_id: str) -> None:
    await change(database, key_id, scopes=[Scope.TOKENS_RESERVE])


async def change(database: Database, key_id: str, **values: Any) -> None:
    async with database.write() as db:
        await db.execute(update(ApiKeyRow).where(col(ApiKeyRow.id) == key_id).values(**values))


@pytest.mark.parametrize(
    ("becomes", "code"),
    [
        (revoked, "key_revoked"),
        (expired, "key_expired"),
        (away, "key_unknown"),
        (of_fewer_scopes, "scope_missing"),
    ],
)
async def test_a_stream_ends_with_its_key_and_says_so(
    client: httpx.AsyncClient, database: Database, becomes: Any, code: str
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    key, other = [await put_key(database, Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ) for _ in range(2)]
    async with following(client, row.id, key=key) as stream, following(client, row.id, key=other) as stays:
        await stream.until(lambda s: s.received != [])
        await stays.until(lambda s: s.received != [])
        await becomes(database, key_id_of(key))
        await stream.until(lambda s: s.over.is_set())
        assert (stream.types[-1], stream.received[-1].data["code"]) == ("problem", code)
        assert not stays.over.is_set()


async def test_a_stream_ends_with_its_session(client: httpx.AsyncClient, database: Database) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    key = await put_key(database, Scope.SESSIONS_READ)
    async with following(client, row.id, key=key) as stream:
        await stream.until(lambda s: s.received != [])
        async with database.write() as db:
            await db.execute(delete(EventRow).where(col(EventRow.session_id) == row.id))
            await db.execute(delete(SessionRow).where(col(SessionRow.id) == row.id))
        await stream.until(lambda s: s.over.is_set())
    assert stream.received[-1].data["code"] == "session_not_found"


async def test_streams_that_are_asked_for_at_once_are_counted_too(sqlite_url: str, redis_url: str) -> None:
    database = Database(sqlite_url)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    key = await put_key(database, Scope.SESSIONS_READ)
    headers = {"accept": "text/event-stream", **key}
    settings = api_settings(sqlite_url, redis_url, api_auth="keys", max_followers_project=3)
    async with served(settings) as client, AsyncExitStack() as held:

        async def status() -> int:
            asked = client.stream("GET", f"/v1/sessions/{row.id}/events", headers=headers)
            return (await held.enter_async_context(asked)).status_code

        found = await asyncio.gather(*(status() for _ in range(12)))
    assert sorted(found) == [200] * 3 + [429] * 9
    await database.close()


async def test_one_project_can_not_take_all_streams(sqlite_url: str, redis_url: str) -> None:
    database = Database(sqlite_url)
    greedy, other = [await put_session(database, status=SessionStatus.ACTIVE, project=p) for p in "ab"]
    keys = [await put_key(database, Scope.SESSIONS_READ, project=project) for project in "ab"]
    settings = api_settings(sqlite_url, redis_url, api_auth="keys", max_followers=4, max_followers_project=1)
    async with served(settings) as client, following(client, greedy.id, key=keys[0]) as first:
        await first.until(lambda s: s.received != [])
        headers = {"accept": "text/event-stream", **keys[0]}
        refused = await client.get(f"/v1/sessions/{greedy.id}/events", headers=headers)
        assert_problem(refused, 429, "too_many_followers_project")
        async with following(client, other.id, key=keys[1]) as stream:
            await stream.until(lambda s: s.received != [])
    await database.close()
