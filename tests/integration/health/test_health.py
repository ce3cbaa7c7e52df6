"""/health shows delays with their age, and a dependency that hangs delays nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from devstack.process import Process
from devstack.servers import LiveKitServer
from services.api.health.checks import LOOK_TIMEOUT_S, Health, Seen
from services.api.health.lag_checks import OUTBOX_LATE_S, lag_checks
from shared.contracts.causes import Cause
from shared.contracts.events import SessionRequested
from shared.contracts.keys import TURNS_STREAM
from shared.contracts.sessions import Mode, SessionStatus
from shared.core.sessions.repository import record
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from shared.platform.redis.client import connect_redis
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import put_session


@pytest.fixture
async def questions(database: Database, redis_url: str) -> AsyncIterator[Any]:
    redis = connect_redis(redis_url)
    tasks = TaskSender(make_celery("health", redis_url))
    yield lag_checks(database=database, redis=redis, tasks=tasks, agent_name="agent", now=utc_now)
    await redis.aclose()
    tasks.close()


async def test_an_event_that_nobody_publishes_is_told_with_its_age(
    database: Database, questions: Any
) -> None:
    assert await questions["outbox:lag"]() == Seen(0.0, "s")
    row = await put_session(database)
    event = SessionRequested(room_name=row.room_name, agent_name=row.agent_name, mode=Mode.PIPELINE)
    async with database.write() as db:
        await record(db, row, event, now=utc_now() - timedelta(seconds=2 * OUTBOX_LATE_S))
    seen = await questions["outbox:lag"]()
    assert seen.value >= 2 * OUTBOX_LATE_S
    assert seen.warning is not None


async def test_turns_that_nobody_stores_are_told_with_their_age(questions: Any, redis: Redis) -> None:
    assert await questions["transcripts:lag"]() == Seen(0.0, "s")
    await redis.xadd(TURNS_STREAM, {"event": "{}"}, id="1-1")
    assert (await questions["transcripts:lag"]()).warning is not None
    await redis.xgroup_create(TURNS_STREAM, "transcripts", id="0")
    seen = await questions["transcripts:lag"]()
    assert seen.value > 1_000_000
    assert seen.warning is not None


async def test_without_a_worker_it_warns_with_the_cause(questions: Any) -> None:
    assert await questions["workers"]() == Seen(0, "workers", str(Cause.NO_WORKER_REGISTERED))


async def test_the_last_join_and_a_canary_that_failed_are_told(database: Database, questions: Any) -> None:
    assert await questions["join:age"]() == Seen(None, "s")
    now = utc_now()
    await put_session(database, status=SessionStatus.ACTIVE, active_at=now - timedelta(seconds=60))
    await put_session(
        database, status=SessionStatus.FAILED, canary=True, cause=Cause.WORKER_DIED, ended_at=now
    )
    assert 60 <= (await questions["join:age"]()).value < 600
    assert (await questions["canary:age"]()).warning == Cause.WORKER_DIED


@pytest.mark.product_limits
async def test_a_broker_that_is_away_fails_its_check(
    sqlite_url: str, own_redis: tuple[str, Process], redis_url: str, livekit_server: LiveKitServer
) -> None:
    url, server = own_redis
    settings = api_settings(
        sqlite_url,
        redis_url,
        broker_url=url,
        livekit_url=livekit_server.url,
        livekit_api_key=livekit_server.api_key,
        livekit_api_secret=livekit_server.api_secret,
    )
    async with in_process(settings) as client:
        assert (await _statuses(client))["broker"] == "pass"
        server.freeze()
        found = await _statuses(client)
        server.thaw()
    assert found["broker"] == "fail"
    assert (found["redis"], found["livekit"], found["database"]) == ("pass", "pass", "pass")


async def _statuses(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.get("/health")
    return {name: found["status"] for name, [found] in answer.json()["checks"].items()}


@pytest.mark.product_limits
async def test_a_dependency_that_does_not_even_give_up_delays_nothing_and_is_asked_once(
    sqlite_url: str, redis_url: str, livekit_server: LiveKitServer
) -> None:
    asked = 0
    over = asyncio.Event()

    async def stubborn() -> None:
        nonlocal asked
        asked += 1
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    database, redis = Database(sqlite_url), connect_redis(redis_url)
    livekit = LiveKit(api_settings(sqlite_url, redis_url, livekit_url=livekit_server.url))
    health = Health(database=database, redis=redis, livekit=livekit, others={"stubborn": stubborn})
    try:
        async with asyncio.timeout(20 * LOOK_TIMEOUT_S):
            for _ in range(2):
                found = await health.dependencies()
                assert found["database"].ok
                assert (found["stubborn"].status, found["stubborn"].seconds) == ("fail", LOOK_TIMEOUT_S)
        assert asked == 1
    finally:
        over.set()
        await livekit.close()
        await redis.aclose()
        await database.close()
