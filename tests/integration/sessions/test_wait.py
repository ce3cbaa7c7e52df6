"""`Prefer: wait=N`: the answer to a start comes when the agent has joined, or won't."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.api.sessions import wait
from services.api.sessions.wait import preferred_wait
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import AgentJoined, DispatchStarted, SessionEnded
from shared.contracts.keys import NEWS_CHANNEL
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import advance, fail
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.hints import give_hint
from tests.integration.background import stop
from tests.integration.rows import get_session
from tests.support.sessions import until

S = SessionStatus
Fate = Callable[[Database, SessionRow], Awaitable[None]]


async def joins(database: Database, row: SessionRow) -> None:
    now = utc_now()
    async with database.write() as db:
        await advance(
            db, row, S.DISPATCHING, event=DispatchStarted(attempt=1, max_attempts=3), now=now, attempt=1
        )
        event = AgentJoined(
            attempt=1, participant_identity="agent-AJ_1", participant_sid="PA_1", join_seconds=0.5
        )
        await advance(
            db,
            row,
            S.ACTIVE,
            event=event,
            now=now,
            active_at=now,
            agent_identity="agent-AJ_1",
            accepted_at=now,
        )


async def fails(database: Database, row: SessionRow) -> None:
    async with database.write() as db:
        await fail(db, row, cause=Cause.WORKER_DIED, evidence={"worker_id": "w-1"}, now=utc_now())


async def joins_and_ends(database: Database, row: SessionRow) -> None:
    await joins(database, row)
    async with database.write() as db:
        event = SessionEnded(reason="canary passed")
        await advance(db, row, S.ENDED, event=event, now=utc_now(), end_reason=event.reason)


async def answer(
    client: httpx.AsyncClient,
    database: Database,
    fate: Fate,
    *,
    redis: Redis | None = None,
    prefer: str = "wait=30",
    **wish: Any,
) -> httpx.Response:
    """Start a session whose fate comes while its start is waited for; with `redis`, say so."""
    asking = asyncio.create_task(client.post("/v1/sessions", json=wish, headers={"prefer": prefer}))

    async def there() -> str | None:
        sessions = (await client.get("/v1/sessions")).json()["sessions"]
        return sessions[0]["session_id"] if sessions else None

    try:
        session_id = await until(there, what="the session is there")
        assert not asking.done()
        await fate(database, await get_session(database, session_id))

        async def answered() -> bool:
            if redis is not None:
                await give_hint(redis, session_id, channel=NEWS_CHANNEL)
            return asking.done()

        await until(answered, what="the start is answered", timeout_s=20)
        return asking.result()
    finally:
        await stop(asking)


async def test_a_start_that_waits_is_answered_with_the_agent_that_joined(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await answer(client, database, joins)
    assert response.status_code == 200, response.text
    assert response.headers["preference-applied"] == "wait=30"
    body = response.json()
    assert response.headers["location"] == f"/v1/sessions/{body['session_id']}"
    assert (body["status"], body["agent_identity"]) == ("active", "agent-AJ_1")
    assert body["timings"]["active_at"] is not None
    at_once = (await client.post("/v1/sessions")).json()
    assert set(at_once) == set(body)
    assert (at_once["agent_identity"], at_once["timings"]["active_at"]) == (None, None)


async def test_a_hint_brings_the_answer_and_not_only_the_poll(
    client: httpx.AsyncClient, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "POLL_INTERVAL_S", 3600.0)
    assert (await answer(client, database, joins, redis=redis)).status_code == 200


async def test_a_start_without_an_agent_is_answered_with_the_cause(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await answer(client, database, fails, room_name="lobby")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["preference-applied"] == "wait=30"
    body = response.json()
    assert (body["type"], body["code"]) == ("/problems/agent_did_not_join", "agent_did_not_join")
    assert (body["cause"], body["advice"]) == ("worker_died", ADVICE[Cause.WORKER_DIED])
    assert body["evidence"] == {"worker_id": "w-1"}
    assert body["room_name"] == "lobby"
    assert response.headers["location"] == f"/v1/sessions/{body['session_id']}"


async def test_a_start_that_is_ended_while_it_waits_is_a_conflict(
    client: httpx.AsyncClient, database: Database
) -> None:
    async def is_ended(_: Database, row: SessionRow) -> None:
        await client.delete(f"/v1/sessions/{row.id}")

    response = await answer(client, database, is_ended)
    assert (response.status_code, response.json()["code"]) == (409, "session_over")
    assert "ended by request" in response.json()["detail"]


async def test_a_conversation_that_is_over_before_the_answer_is_no_session_to_join(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await answer(client, database, joins_and_ends)
    assert (response.status_code, response.json()["code"]) == (409, "session_over")


async def test_a_canary_that_is_over_has_passed(client: httpx.AsyncClient, database: Database) -> None:
    response = await answer(client, database, joins_and_ends, canary=True)
    assert (response.status_code, response.json()["status"]) == (200, "ended")


@pytest.mark.parametrize("seconds", [0, 1])
async def test_what_is_not_known_in_time_is_answered_as_without_waiting(
    client: httpx.AsyncClient, seconds: int
) -> None:
    response = await client.post("/v1/sessions", headers={"prefer": f"respond-async, wait={seconds}"})
    assert (response.status_code, response.json()["status"]) == (202, "requested")
    assert response.headers["preference-applied"] == f"wait={seconds}"


async def test_no_preference_that_makes_sense_is_no_preference(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/sessions", headers={"prefer": "wait=soon"})
    assert response.status_code == 202
    assert "preference-applied" not in response.headers


async def test_a_refused_start_is_not_waited_for(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/sessions", json={"require": "first_speech"}, headers={"prefer": "wait=30"}
    )
    assert response.status_code == 422


async def test_the_longest_wait_is_bounded_whatever_is_asked_for(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await answer(client, database, joins, prefer="wait=86400")
    assert response.headers["preference-applied"] == "wait=30"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], None),
        (["respond-async"], None),
        (["wait=10"], 10),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["wait=10; why=because"], 10),
        (["respond-async, wait=10"], 10),
        (["handling=lenient", "wait=10"], 10),
        (['foo="a, wait=3", wait=10'], 10),
        (["wait=4, wait=10"], 4),
        (["wait=0"], 0),
        (["wait=007"], 7),
        (["wait=31"], 30),
        ([f"wait={'9' * 10_000}"], 30),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=+5"], None),
        (["wait=1.5"], None),
        (["wait=1_0"], None),
        (["wait=١٠"], None),
        (["waiting=10"], None),
        ([""], None),
        ([",,;=,"], None),
    ],
)
def test_the_preference_is_read_as_the_rfc_says(prefer: list[str], seconds: int | None) -> None:
    assert preferred_wait(prefer) == seconds
