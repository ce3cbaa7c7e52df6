"""Limits of keys and projects: requests in a minute, sessions at the same time, the length of a body."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from devstack.process import Process
from services.api.auth.access import Scope
from services.api.auth.key_format import Kind
from services.api.limits import rates as limits
from shared.core.sessions.limits import MOST_AT_ONCE
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.support.keys import ORIGIN, put_key


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine answers late, and a request that was not counted is not refused."""
    monkeypatch.setattr(limits, "PATIENCE_S", 30.0)


@asynccontextmanager
async def api(database_url: str, redis_url: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys", **changes)) as client:
        yield client


async def statuses(client: httpx.AsyncClient, headers: dict[str, str], times: int) -> list[int]:
    return [(await client.get("/v1/sessions", headers=headers)).status_code for _ in range(times)]


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(
    database_url: str, redis_url: str, database: Database
) -> None:
    busy, calm = [await put_key(database, Scope.SESSIONS_READ) for _ in range(2)]
    async with api(database_url, redis_url, requests_per_minute_key=3) as client:
        assert await statuses(client, busy, 3) == [200, 200, 200]
        refused = await client.get("/v1/sessions", headers=busy)
        assert await statuses(client, calm, 1) == [200]
    body = refused.json()
    assert (refused.status_code, body["code"]) == (429, "too_many_requests")
    wait_s = int(refused.headers["retry-after"])
    assert 1 <= wait_s <= 60
    assert body["retry_after"] == wait_s
    assert refused.headers["ratelimit"] == f'"key";r=0;t={wait_s}'
    assert '"key";q=3;w=60' in refused.headers["ratelimit-policy"]


async def test_a_crowd_is_counted_to_the_last(database_url: str, redis_url: str, database: Database) -> None:
    headers = await put_key(database, Scope.SESSIONS_READ)
    async with api(database_url, redis_url, requests_per_minute_key=150) as client:
        asked = (client.get("/v1/sessions/none", headers=headers) for _ in range(300))
        answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {404: 150, 429: 150}


async def test_replicas_count_together(database_url: str, redis_url: str, database: Database) -> None:
    headers = await put_key(database, Scope.SESSIONS_READ)
    limit = {"requests_per_minute_key": 3}
    async with api(database_url, redis_url, **limit) as one, api(database_url, redis_url, **limit) as other:
        found = [*await statuses(one, headers, 2), *await statuses(other, headers, 2)]
    assert found == [200, 200, 200, 429]


async def test_the_keys_of_a_project_share_its_limit_and_other_projects_do_not(
    database_url: str, redis_url: str, database: Database
) -> None:
    ours = [await put_key(database, Scope.SESSIONS_READ, project="ours") for _ in range(2)]
    theirs = await put_key(database, Scope.SESSIONS_READ, project="theirs")
    async with api(database_url, redis_url, requests_per_minute_project=3) as client:
        assert await statuses(client, ours[0], 2) == [200, 200]
        assert await statuses(client, ours[1], 2) == [200, 429]
        assert await statuses(client, theirs, 1) == [200]


async def test_one_visitor_does_not_use_up_what_a_page_has(
    database_url: str, redis_url: str, database: Database
) -> None:
    headers = {**await put_key(database, kind=Kind.PUBLISHABLE), "Origin": ORIGIN}
    async with api(database_url, redis_url, requests_per_minute_visitor=2) as client:
        # It may not do this, but is counted.
        assert await statuses(client, headers, 3) == [403, 403, 429]
        other_address = httpx.ASGITransport(client._transport.app, client=("192.0.2.7", 1))  # type: ignore[attr-defined]
        async with httpx.AsyncClient(transport=other_address, base_url="http://api") as other:
            assert await statuses(other, headers, 1) == [403]


async def test_a_redis_that_is_away_limits_nobody(
    database_url: str, own_redis: tuple[str, Process], database: Database
) -> None:
    url, process = own_redis
    headers = await put_key(database, Scope.SESSIONS_READ)
    async with api(database_url, url, requests_per_minute_key=2) as client:
        assert await statuses(client, headers, 3) == [200, 200, 429]
        await process.stop()
        assert await statuses(client, headers, 5) == [200] * 5


@pytest.mark.product_limits
async def test_a_frozen_redis_limits_nobody_and_delays_nobody_for_long(
    database_url: str,
    own_redis: tuple[str, Process],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, process = own_redis
    headers = await put_key(database, Scope.SESSIONS_READ)
    async with api(database_url, url, requests_per_minute_key=2) as client:
        assert await statuses(client, headers, 3) == [200, 200, 429]
        monkeypatch.setattr(limits, "PATIENCE_S", 0.1)
        process.freeze()
        async with asyncio.timeout(60):  # the call itself would take longer
            assert await statuses(client, headers, 5) == [200] * 5
        process.thaw()


@pytest.mark.parametrize("limit", ["max_sessions_key", "max_sessions_project"])
@pytest.mark.sql
async def test_as_many_sessions_as_are_allowed_live_at_once_and_not_one_more(
    database_url: str, redis_url: str, database: Database, limit: str
) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE, project="ours")
    sibling = await put_key(database, Scope.SESSIONS_WRITE, project="ours")
    stranger = await put_key(database, Scope.SESSIONS_WRITE, project="theirs")

    async with api(database_url, redis_url, **{limit: 3}) as client:

        async def start(headers: dict[str, str]) -> httpx.Response:
            return await client.post("/v1/sessions", json={}, headers=headers)

        answers = await asyncio.gather(*(start(headers) for _ in range(8)))
        accepted = [answer for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert (len(accepted), len(refused)) == (3, 5), "at the same time, too"
        assert refused[0].json()["code"] == "too_many_sessions"
        assert int(refused[0].headers["retry-after"]) > 0
        assert (await start(stranger)).status_code == 202
        expected = 429 if limit == "max_sessions_project" else 202
        assert (await start(sibling)).status_code == expected
        ended = accepted[0].json()["session_id"]
        await client.delete(f"/v1/sessions/{ended}", headers=headers)
        assert (await start(headers)).status_code == 202


async def test_whoever_starts_far_below_the_limit_does_not_get_past_it(
    database_url: str, redis_url: str, database: Database
) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE)
    most = MOST_AT_ONCE + 20
    async with api(database_url, redis_url, max_sessions_key=most) as client:

        async def start_at_last() -> httpx.Response:
            while (answer := await client.post("/v1/sessions", json={}, headers=headers)).status_code == 503:
                pass  # a busy machine did not get to it in time: all connections were taken
            return answer

        answers = await asyncio.gather(*(start_at_last() for _ in range(most + 20)))
    assert Counter(answer.status_code for answer in answers) == {202: most, 429: 20}


async def test_a_body_that_is_too_long_is_refused_with_or_without_saying_so(
    database_url: str, redis_url: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    settings = api_settings(database_url, redis_url, api_max_body_bytes=1024)
    headers = {"content-type": "application/json", "authorization": "x"}
    async with in_process(settings) as client:
        for path, whole in (
            ("/v1/sessions", True),
            ("/v1/sessions", False),
            ("/v1/livekit/webhook", True),
            ("/v1/livekit/webhook", False),
            ("/nowhere", True),
        ):
            body = b" " * 1025 if whole else pieces()
            answer = await client.post(path, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path
            assert answer.headers["content-type"] == "application/problem+json"
        fits = await client.post(
            "/v1/sessions", content=b"{}" + b" " * 1022, headers={"content-type": "application/json"}
        )
        assert fits.status_code == 202
