"""Webhooks to names whose server is silent delay neither deliveries nor starts of other projects."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from shared.contracts.keys import DISPATCH_TASK
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.integration.conftest import Queued
from tests.integration.webhooks.webhook_bench import webhook_bench
from tests.stack_fixtures.waiting import eventually
from tests.support.hanging_names import HANGING, hanging_names
from tests.support.keys import put_key
from tests.support.receiver import Receiver
from tests.unit.making import FakeClock


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with hanging_names(monkeypatch) as asked:
        yield asked


async def test_deliveries_to_names_that_hang_hold_up_no_other_projects(
    sqlite_url: str, redis: Redis, hanging: list[str]
) -> None:
    database = Database(sqlite_url)
    async with (
        Receiver() as receiver,
        webhook_bench(database, redis, FakeClock(utc_now()), webhook_concurrency=40) as hooks,
    ):
        named = receiver.url.replace("127.0.0.1", "localhost")
        for number in range(50):
            await hooks.put_endpoint(f"http://{number}.{HANGING}/hook", project="greedy")
        await hooks.put_endpoint(named, project="other")
        for project in ("greedy", "other"):
            await hooks.put_session(project=project)
        await hooks.collector.scan()
        while await hooks.deliverer.deliver_due():
            pass
        await eventually(lambda: len(receiver.received) == 1)
        assert hanging
        await hooks.deliverer.drain(0)
    await database.close()


async def test_endpoints_whose_names_hang_hold_up_no_start(
    sqlite_url: str, redis_url: str, hanging: list[str], queued: Queued
) -> None:
    database = Database(sqlite_url)
    admin = await put_key(database, Scope.ADMIN, project="greedy")
    starter = await put_key(database, Scope.SESSIONS_WRITE, project="other")
    async with in_process(api_settings(sqlite_url, redis_url, api_auth="keys")) as client:
        registering = [
            asyncio.create_task(
                client.post(
                    "/v1/webhook-endpoints",
                    json={"url": f"https://{number}.{HANGING}/hook"},
                    headers=admin,
                )
            )
            for number in range(80)
        ]
        await eventually(lambda: bool(hanging))
        started = await client.post("/v1/sessions", json={}, headers=starter)
        assert started.status_code == 202
        session_id = started.json()["session_id"]
        await eventually(lambda: is_queued(queued, session_id), timeout=3)
        for answer in await asyncio.gather(*registering):
            assert_problem(answer, 422, "webhook_target_forbidden")
            assert "no name server has answered" in answer.json()["detail"]
    await database.close()


async def is_queued(queued: Queued, session_id: str) -> bool:
    return session_id in (await queued()).get(DISPATCH_TASK, [])
