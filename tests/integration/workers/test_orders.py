"""Operators order workers over the API: what is left for the worker, and what is refused."""

import httpx
import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from shared.contracts.workers import WorkerOrder
from shared.core.workers.orders import give_order, read_order
from shared.core.workers.registry import write_heartbeat
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, beat_for_ever, in_process
from tests.support.keys import put_key
from tests.unit.making import make_heartbeat

CORDON, UNCORDON, DRAIN = WorkerOrder.CORDON, WorkerOrder.UNCORDON, WorkerOrder.DRAIN


async def order(client: httpx.AsyncClient, what: WorkerOrder, worker_id: str = "worker-1") -> httpx.Response:
    return await client.post(f"/v1/workers/{worker_id}/{what}")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_an_order_waits_for_the_worker_and_may_be_given_twice(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    beat = make_heartbeat(active_jobs=3)
    await beat_for_ever(redis, beat)
    for what in (CORDON, CORDON, UNCORDON, UNCORDON):
        answer = await order(client, what)
        assert answer.status_code == 202
        assert answer.json() == {
            "worker_id": "worker-1",
            "order": what,
            "cordoned": False,
            "draining": False,
            "active_jobs": 3,
        }
        assert await write_heartbeat(redis, beat) is what, "the worker's next beat brings it back"


async def test_a_drain_stands_whatever_is_ordered_after_it(client: httpx.AsyncClient, redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat())
    for what in (DRAIN, DRAIN, CORDON):
        answer = await order(client, what)
        assert (answer.status_code, answer.json()["order"]) == (202, "drain")
    assert refusal(await order(client, UNCORDON)) == (409, "worker_drains")
    assert await read_order(redis, "worker-1") is DRAIN


async def test_a_worker_that_drains_since_it_was_told_by_a_signal_is_not_uncordoned(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat(draining=True))
    assert refusal(await order(client, UNCORDON)) == (409, "worker_drains")
    assert await read_order(redis, "worker-1") is None


@pytest.mark.parametrize("what", WorkerOrder)
async def test_a_worker_that_does_not_live_is_not_found(
    client: httpx.AsyncClient, redis: Redis, what: WorkerOrder
) -> None:
    await beat_for_ever(redis, make_heartbeat())
    for worker_id in ("worker-2", "worker-1%0a", "%2e%2e"):
        assert refusal(await order(client, what, worker_id)) == (404, "worker_not_found")
    assert await redis.keys("rollcall:worker-order:*") == []


async def test_only_an_admin_orders_workers(
    database_url: str, redis_url: str, database: Database, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat())
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        assert refusal(await order(client, CORDON)) == (401, "key_missing")
        client.headers.update(await put_key(database, Scope.SESSIONS_WRITE))
        assert refusal(await order(client, CORDON)) == (403, "scope_missing")
        client.headers.update(await put_key(database, Scope.ADMIN))
        assert (await order(client, CORDON)).status_code == 202


async def test_without_redis_an_order_is_refused(sqlite_url: str, free_port: int) -> None:
    async with in_process(api_settings(sqlite_url, f"redis://127.0.0.1:{free_port}/0")) as client:
        assert refusal(await order(client, CORDON)) == (503, "registry_unreachable")


async def test_an_order_of_a_later_version_is_none_to_this_worker(redis: Redis) -> None:
    await redis.set("rollcall:worker-order:worker-1", "dance")
    assert await write_heartbeat(redis, make_heartbeat()) is None
    assert await give_order(redis, "worker-1", CORDON) is CORDON
