"""Reservations keep to limits: of sessions once their caller comes, of visitors before that."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from services.api.auth.key_format import Kind
from services.api.limits import rates as limits
from services.api.token import waiting_visitors
from services.verifier.admit.reservations import Reservations
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.outbox import Relay
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.integration.livekit.test_webhooks_in import an_event, sign
from tests.integration.rows import count, get_session, last_event
from tests.support.keys import ORIGIN, put_key
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import make_caller

pytestmark = pytest.mark.sql

S = SessionStatus
CALLER = {"identity": "caller-1", "kind": "STANDARD"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine answers late, and a request that was not counted is not refused."""
    monkeypatch.setattr(limits, "PATIENCE_S", 30.0)
    monkeypatch.setattr(waiting_visitors, "CALL_TIMEOUT_S", 30.0)


@asynccontextmanager
async def api(database_url: str, redis_url: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys", **changes)) as client:
        yield client


def from_address(client: httpx.AsyncClient, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(client._transport.app, client=(address, 1))  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30)


async def reserve(client: httpx.AsyncClient, headers: dict[str, str], times: int) -> list[dict[str, Any]]:
    answers = [await client.post("/v1/token", headers=headers) for _ in range(times)]
    assert [answer.status_code for answer in answers] == [201] * times
    return [answer.json() for answer in answers]


async def comes(client: httpx.AsyncClient, granted: dict[str, Any], kind: str = "participant_joined") -> None:
    """Receive LiveKit's webhook that a reservation's caller has joined."""
    event_id = f"EV_{kind}_{granted['session_id']}"
    body = an_event(granted["room_name"], kind=kind, event_id=event_id, participant=CALLER)
    answer = await client.post("/v1/livekit/webhook", content=body, headers={"Authorization": sign(body)})
    assert answer.status_code == 200


async def statuses(database: Database, granted: list[dict[str, Any]]) -> Counter[str]:
    rows = [await get_session(database, one["session_id"]) for one in granted]
    return Counter(str(row.status) for row in rows)


@pytest.mark.parametrize("limit", ["max_sessions_key", "max_sessions_project"])
async def test_callers_who_come_at_once_get_as_many_sessions_as_are_allowed(
    database_url: str, redis_url: str, database: Database, limit: str
) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE, Scope.SESSIONS_READ, project="ours")
    stranger = await put_key(database, Scope.SESSIONS_WRITE, project="theirs")
    async with api(database_url, redis_url, **{limit: 2}) as client:
        granted = await reserve(client, headers, 10)
        [theirs] = await reserve(client, stranger, 1)
        starts = [client.post("/v1/sessions", json={}, headers=headers) for _ in range(4)]
        _, answers = await asyncio.gather(
            asyncio.gather(*(comes(client, one) for one in [*granted, theirs])), asyncio.gather(*starts)
        )
        started = sum(answer.status_code == 202 for answer in answers)
        found = await statuses(database, granted)
        assert found[S.REQUESTED] + started == 2, "reservations and starts keep to one limit"
        assert found[S.CANCELLED] == 10 - found[S.REQUESTED], "the rest is refused"
        assert await statuses(database, [theirs]) == {S.REQUESTED: 1}
        refused = [
            (await client.get(f"/v1/sessions/{one['session_id']}", headers=headers)).json() for one in granted
        ]
    told = next(one for one in refused if one["status"] == S.CANCELLED)
    assert told["end_reason"] == "too many sessions"
    assert told["failure"]["cause"] == "too_many_sessions"
    of = limit.removeprefix("max_sessions_")
    assert told["failure"]["evidence"] == {"limit": of, "most": 2, "live": 2}
    event = await last_event(database, told["session_id"])
    assert (event["type"], event["cause"]) == ("session.cancelled.v1", "too_many_sessions")
    stored = await get_session(database, told["session_id"])
    assert stored.next_check_at is not None, "its room is closed"


async def test_a_caller_on_his_way_is_refused_only_where_he_can_be_told(
    database_url: str, redis_url: str, database: Database
) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE)
    async with api(database_url, redis_url, max_sessions_key=1) as client:
        one, two, three = await reserve(client, headers, 3)
        await comes(client, one, "room_started")
        await comes(client, two, "room_started")
        await comes(client, three, "room_started")
        assert await statuses(database, [one, two, three]) == {S.REQUESTED: 1, S.RESERVED: 2}
        await comes(client, two)
        assert await statuses(database, [two]) == {S.CANCELLED: 1}
        await client.delete(f"/v1/sessions/{one['session_id']}", headers=headers)
        await comes(client, three)
        assert await statuses(database, [three]) == {S.REQUESTED: 1}, "there is room again"


async def test_callers_whom_no_webhook_tells_of_keep_to_the_limit_too(
    database_url: str, redis_url: str, database: Database, relay: Relay, rooms: FakeRooms
) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE)
    async with api(database_url, redis_url) as client:
        granted = await reserve(client, headers, 5)
    for one in granted:
        rooms.open_room(one["room_name"], make_caller())
    reservations = Reservations(
        database=database,
        rooms=rooms,
        relay=relay,
        limits=SessionLimitSettings(max_sessions_key=2),
        join_budget_s=15,
        holder="me",
        now=utc_now,
    )
    await reservations.look_at_rooms()
    assert await statuses(database, granted) == {S.REQUESTED: 2, S.CANCELLED: 3}


async def page_key(database: Database) -> dict[str, str]:
    return {**await put_key(database, kind=Kind.PUBLISHABLE), "Origin": ORIGIN}


def with_metadata(size: int) -> dict[str, Any]:
    return {"room_config": {"agents": [{"metadata": "x" * size}]}}


async def test_what_a_page_may_have_stored_is_small(
    database_url: str, redis_url: str, database: Database
) -> None:
    page, secret = await page_key(database), await put_key(database, Scope.TOKENS_RESERVE)
    async with api(database_url, redis_url) as client:
        for size, allowed in ((2048, True), (2049, False)):
            answer = await client.post("/v1/token", json=with_metadata(size), headers=page)
            if allowed:
                assert answer.status_code == 201
            else:
                problem = assert_problem(answer, 422, "invalid_request")
                assert problem["errors"][0]["field"] == "room_config.agents.0.metadata"
        large = await client.post("/v1/token", json=with_metadata(32_000), headers=secret)
        assert large.status_code == 201


async def test_visitors_are_counted_by_network(database_url: str, redis_url: str, database: Database) -> None:
    page = await page_key(database)
    async with api(database_url, redis_url, requests_per_minute_visitor=2) as client:

        async def asks(address: str) -> int:
            async with from_address(client, address) as visitor:
                return (await visitor.post("/v1/token", headers=page)).status_code

        assert [await asks(f"2001:db8::{n}") for n in range(1, 4)] == [201, 201, 429]
        assert await asks("2001:db8:0:1::1") == 201
        written = ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207")
        assert [await asks(address) for address in written] == [201, 201, 429]


async def test_reservations_of_one_visitor_that_wait_are_bounded(
    database_url: str, redis_url: str, database: Database, redis: Redis
) -> None:
    page = await page_key(database)
    secret = await put_key(database, Scope.TOKENS_RESERVE)
    async with api(database_url, redis_url, max_reservations_visitor=3) as client:
        answers = await asyncio.gather(*(client.post("/v1/token", headers=page) for _ in range(6)))
        granted = [answer.json() for answer in answers if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert len(granted) == 3, "at the same time, too"
        problem = assert_problem(refused[0], 429, "too_many_reservations")
        assert refused[0].headers["retry-after"] == str(problem["retry_after"])
        assert await count(database, "session") == 3, "no row is written for the others"
        async with from_address(client, "192.0.2.9") as other:
            assert (await other.post("/v1/token", headers=page)).status_code == 201
        await reserve(client, secret, 5)

        await comes(client, granted[0])
        assert (await client.post("/v1/token", headers=page)).status_code == 201, "one was used"
        assert (await client.post("/v1/token", headers=page)).status_code == 429
        for key in await redis.keys("rollcall:visitor:*"):
            assert await redis.ttl(key) > 0


BAD: dict[str, str] = {
    "made up": f"Bearer rollcall_sk_{'A' * 12}_{'b' * 43}",
    "malformed": "Bearer nonsense",
    "not a bearer": "Basic dTpw",
}


@pytest.mark.parametrize("bad", [*BAD, "revoked", "of another origin", "guessed"])
async def test_keys_that_are_not_taken_are_limited_and_soon_cost_no_look(
    database_url: str, redis_url: str, database: Database, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    good = await put_key(database, Scope.SESSIONS_READ)
    headers = {"Authorization": BAD.get(bad, "")}
    if bad == "revoked":
        headers = await put_key(database, Scope.SESSIONS_READ, revoked=True)
    elif bad == "of another origin":
        headers = {**await page_key(database), "Origin": "https://evil.example.com"}
    elif bad == "guessed":
        headers = {"Authorization": good["Authorization"][:-43] + "c" * 43}
    async with api(database_url, redis_url, requests_per_minute_bad_key=3) as client:
        assert (await client.get("/v1/sessions", headers=good)).status_code == 200
        first = [(await client.get("/v1/sessions", headers=headers)).status_code for _ in range(3)]
        assert first == [403 if bad == "of another origin" else 401] * 3
        looks: list[str] = []
        monkeypatch.setattr("services.api.auth.keyring.Keyring.who", lambda *_: looks.append("looked"))
        refused = await client.get("/v1/sessions", headers=headers)
        monkeypatch.undo()
        problem = assert_problem(refused, 429, "too_many_requests")
        assert refused.headers["retry-after"] == str(problem["retry_after"])
        assert looks == []
        assert (await client.get("/v1/sessions", headers=good)).status_code == 200, "a network is shared"
        async with from_address(client, "192.0.2.9") as other:
            assert (await other.get("/v1/sessions", headers=headers)).status_code in (401, 403)


async def test_no_key_at_all_is_not_a_bad_one(database_url: str, redis_url: str, database: Database) -> None:
    async with api(database_url, redis_url, requests_per_minute_bad_key=1) as client:
        answers = [(await client.get("/v1/sessions")).status_code for _ in range(5)]
        new = await put_key(database, Scope.SESSIONS_READ)
        assert answers == [401] * 5
        assert (await client.get("/v1/sessions", headers=new)).status_code == 200
