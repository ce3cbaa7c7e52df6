"""A start that is repeated with its Idempotency-Key starts nothing, and gets the same answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update
from sqlmodel import col

from services.api.settings import ApiSettings
from shared.contracts.keys import DISPATCH_TASK
from shared.core.sessions.tables import IdempotencyKeyRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import SECRET, api_settings, assert_problem, in_process, served
from tests.integration.background import stop
from tests.integration.conftest import Queued
from tests.integration.rows import count, get_session
from tests.integration.sessions.test_wait import fails, joins
from tests.support.sessions import until

pytestmark = pytest.mark.sql

KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'


@pytest.fixture
def settings(database_url: str, redis_url: str) -> ApiSettings:
    return api_settings(database_url, redis_url)


@pytest.fixture
async def client(settings: ApiSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(settings) as client:
        yield client


async def start(
    client: httpx.AsyncClient, key: str = KEY, wait_s: int | None = None, **wish: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    if wait_s is not None:
        headers["Prefer"] = f"wait={wait_s}"
    return await client.post("/v1/sessions", json=wish, headers=headers)


def without_token(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    token = jwt.decode(body.pop("participant_token"), SECRET, algorithms=["HS256"])
    assert (token["video"]["room"], token["sub"]) == (body["room_name"], body["participant_identity"])
    return body


async def the_session(database: Database) -> str:
    """The id of the only session, once there is one."""

    async def found() -> list[str]:
        async with database.read() as db:
            return list((await db.scalars(select(col(IdempotencyKeyRow.session_id)))).all())

    session_id: str = (await until(found, what="the session is there"))[0]
    return session_id


async def test_a_start_that_is_sent_again_is_answered_as_it_was(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await start(client, metadata={"a": 1})
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    # The session has changed since the answer.
    await joins(database, await get_session(database, first.json()["session_id"]))
    again = await start(client, metadata={"a": 1})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert without_token(again) == without_token(first)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["cache-control"] == "no-store"
    assert await count(database, "session") == 1


async def test_the_same_wish_in_other_words_is_the_same(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await start(client, KEY.strip('"'), participant_name="A", mode="pipeline")
    again = await client.post(
        "/v1/sessions",
        content='{ "mode": "hybrid", "participant_name": "A", "canary": false }',
        headers={"Idempotency-Key": KEY, "Content-Type": "application/json"},
    )
    assert without_token(again) == without_token(first)
    assert await count(database, "session") == 1


async def test_a_key_with_another_body_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    first = await start(client, participant_name="A")
    problem = assert_problem(await start(client, participant_name="B"), 422, "idempotency_key_reused")
    assert problem["session_id"] == first.json()["session_id"]
    assert await count(database, "session") == 1


async def test_a_malformed_key_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    for key in ("", '""', '"open', "two words", "é", "x" * 256, '"a\\b"'):
        headers = httpx.Headers({"Idempotency-Key": key}, encoding="utf-8")
        answer = await client.post("/v1/sessions", headers=headers)
        assert_problem(answer, 400, "idempotency_key_malformed")
    assert await count(database, "session") == 0


async def test_two_keys_at_once_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_problem(await client.post("/v1/sessions", headers=headers), 400, "idempotency_key_malformed")


async def test_a_start_that_was_refused_has_not_used_its_key(
    client: httpx.AsyncClient, database: Database
) -> None:
    taken = (await client.post("/v1/sessions", json={"room_name": "lobby"})).json()["session_id"]
    assert_problem(await start(client, room_name="lobby"), 409, "room_in_use")
    assert await count(database, "idempotency_key") == 0
    await client.delete(f"/v1/sessions/{taken}")
    assert (await start(client, room_name="lobby")).status_code == 202


async def test_two_projects_may_use_the_same_key(client: httpx.AsyncClient, database: Database) -> None:
    await start(client)
    async with database.write() as db:
        await db.execute(update(IdempotencyKeyRow).values(project="another"))
    assert "idempotency-replayed" not in (await start(client)).headers
    assert await count(database, "session") == 2


async def test_a_key_whose_time_is_over_is_new(client: httpx.AsyncClient, database: Database) -> None:
    first = await start(client, participant_name="A")
    async with database.write() as db:
        await db.execute(update(IdempotencyKeyRow).values(expires_at=utc_now()))
    second = await start(client, participant_name="B")
    assert second.status_code == 202
    assert second.json()["session_id"] != first.json()["session_id"]
    again = await start(client, participant_name="B")
    assert again.json()["session_id"] == second.json()["session_id"]


async def test_a_key_is_remembered_for_as_long_as_it_is_said(
    client: httpx.AsyncClient, database: Database, settings: ApiSettings
) -> None:
    before = utc_now()
    await start(client)
    async with database.read() as db:
        row = await db.get_one(IdempotencyKeyRow, ("default", "POST /v1/sessions", KEY.strip('"')))
    lasts = timedelta(seconds=settings.idempotency_key_ttl_s)
    assert before + lasts <= row.expires_at <= utc_now() + lasts
    assert lasts == timedelta(days=1)


def seen_before() -> dict[str, float]:
    """How often each outcome of a request with a known key was counted."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return {
        sample.labels["outcome"]: sample.value
        for sample in samples
        if sample.name == "idempotency_keys_total"
    }


@pytest.mark.parametrize(
    ("fate", "status"),
    [(joins, 200), (fails, 503)],
    ids=["joins", "fails"],
)
async def test_while_the_first_waits_the_second_is_told_so_and_then_answered_alike(
    client: httpx.AsyncClient, database: Database, fate: Any, status: int
) -> None:
    waiting = asyncio.create_task(start(client, wait_s=30))
    try:
        session_id = await the_session(database)
        problem = await start(client, wait_s=30)
        assert_problem(problem, 409, "idempotency_key_in_use")
        assert 1 <= int(problem.headers["retry-after"]) <= 5
        await fate(database, await get_session(database, session_id))
        first = await waiting
    finally:
        await stop(waiting)
    assert first.status_code == status
    counted = seen_before()
    again = await start(client)
    assert seen_before() == {**counted, "replayed": counted.get("replayed", 0) + 1}
    assert (again.status_code, again.headers["idempotency-replayed"]) == (status, "true")
    assert again.headers["preference-applied"] == "wait=30"
    assert again.headers["location"] == first.headers["location"]
    if status == 200:
        assert without_token(again) == without_token(first)
        assert first.json()["agent_identity"] == "agent-AJ_1"
    else:
        assert {**again.json(), "trace_id": ""} == {**first.json(), "trace_id": ""}
        assert again.json()["cause"] == "worker_died"
    assert await count(database, "session") == 1


async def test_a_crash_before_the_answer_was_kept_makes_no_second_session(
    client: httpx.AsyncClient, database: Database
) -> None:
    session_id = (await start(client, wait_s=0)).json()["session_id"]

    async def as_committed(running_until: datetime) -> None:
        """What the database has before the answer is kept."""
        row = update(IdempotencyKeyRow)
        async with database.write() as db:
            await db.execute(row.values(status=None, answer=None, running_until=running_until))

    await as_committed(utc_now() + timedelta(minutes=1))
    assert_problem(await start(client, wait_s=0), 409, "idempotency_key_in_use")
    await as_committed(utc_now())
    await joins(database, await get_session(database, session_id))
    again = await start(client, wait_s=0)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["session_id"] == session_id
    assert without_token(await start(client)) == without_token(again)
    assert await count(database, "session") == 1


async def test_no_token_is_stored(client: httpx.AsyncClient, database: Database) -> None:
    first = await start(client, wait_s=0)
    async with database.read() as db:
        row = await db.get_one(IdempotencyKeyRow, ("default", "POST /v1/sessions", KEY.strip('"')))
    assert row.answer is not None
    assert "participant_token" not in str(row.answer)
    assert first.json()["participant_token"] not in str(row)


async def start_at_last(client: httpx.AsyncClient) -> httpx.Response:
    """Start as a client does that is told to come again: a crowd may find all connections taken."""
    while (answer := await start(client, participant_name="A")).status_code == 503:
        assert answer.headers["retry-after"]
    return answer


async def test_sixty_posts_at_once_with_one_key_make_one_session(
    settings: ApiSettings, database: Database, queued: Queued
) -> None:
    async with served(settings) as client:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=client.base_url, timeout=None, limits=limits) as crowd:
            answers = await asyncio.gather(*(start_at_last(crowd) for _ in range(60)))

        async def enqueued() -> list[str]:
            return (await queued()).get(DISPATCH_TASK, [])

        tasks = await until(enqueued, what="the session is enqueued")
    assert {answer.status_code for answer in answers} == {202}, [a.text for a in answers if a.is_error][:3]
    [session_id] = {answer.json()["session_id"] for answer in answers}
    assert await count(database, "session") == 1
    assert await count(database, "session_event") == 1
    assert tasks == [session_id], "one dispatch, so one agent"
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    bodies = [without_token(answer) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
