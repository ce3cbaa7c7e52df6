"""Pools: which one a session gets, and that it counts, waits and fails by that pool alone."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.dispatcher.dispatch import Dispatcher
from services.verifier.admit.admission import Admission
from services.verifier.gauges.queues import RedisQueues
from services.verifier.gauges.survey import Gauger
from services.verifier.pools.revival_pool import pool_for_revival
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.admission.reservations import request_reserved
from shared.core.admission.wait_queue import place_in_line
from shared.core.pools.traffic import read_traffic, set_traffic
from shared.core.workers.registry import Fleet
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, beat_for_ever, in_process
from tests.integration.rows import get_session, last_event, put_session
from tests.integration.verifier.verifier_bench import Bench
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import T0, make_heartbeat

ROUTE = "/v1/agents/agent/traffic"


@pytest.fixture
async def pooled(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An API whose clients may ask for blue."""
    async with in_process(api_settings(database_url, redis_url, allowed_deployments=["blue"])) as client:
        yield client


async def start(client: httpx.AsyncClient, **wish: Any) -> str:
    answer = await client.post("/v1/sessions", json=wish)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["session_id"])


async def pool_of(client: httpx.AsyncClient, session_id: str) -> str | None:
    found: str | None = (await client.get(f"/v1/sessions/{session_id}")).json()["deployment"]
    return found


async def test_traffic_is_shared_shown_and_taken_away(pooled: httpx.AsyncClient, redis: Redis) -> None:
    assert (await pooled.get(ROUTE)).json() == {
        "agent_name": "agent",
        "shares": {},
        "changed_at": None,
        "taken_back": [],
        "pools": [],
    }
    await beat_for_ever(redis, make_heartbeat("w-1", deployment="blue", active_jobs=3))
    await beat_for_ever(redis, make_heartbeat("w-2"))
    for shares in ({"blue": 100}, {"blue": 90, "green": 10}, {"blue": 90, "green": 10}):
        answer = await pooled.put(ROUTE, json=shares)
        assert (answer.status_code, answer.json()["shares"]) == (200, shares)
    shown = (await pooled.get(ROUTE)).json()
    assert shown["changed_at"] is not None
    assert [tuple(pool.values()) for pool in shown["pools"]] == [
        ("", 0, 1, 10),
        ("blue", 90, 1, 7),
        ("green", 10, 0, 0),
    ]
    assert (await pooled.put(ROUTE, json={})).json()["changed_at"] is None


@pytest.mark.parametrize(
    "shares",
    [{"blue": 99}, {"blue": 101}, {"blue": 110, "green": -10}, {"gr_een": 100}, {"blue": 99.5}, [100], None],
)
async def test_shares_that_are_none_are_refused(pooled: httpx.AsyncClient, shares: Any) -> None:
    answer = await pooled.put(ROUTE, json=shares)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await pooled.get(ROUTE)).json()["shares"] == {}


async def test_a_session_that_names_no_pool_gets_one_by_the_shares_of_that_moment(
    pooled: httpx.AsyncClient,
) -> None:
    before = await start(pooled)
    await pooled.put(ROUTE, json={"green": 100, "blue": 0})
    drawn, named, of_others = (
        await start(pooled),
        await start(pooled, deployment="blue"),
        await start(pooled, agent_name="billing"),
    )
    unnamed = await start(pooled, deployment="")
    await pooled.put(ROUTE, json={"blue": 100})
    found = [await pool_of(pooled, one) for one in (before, drawn, named, of_others, unnamed)]
    assert found == [None, "green", "blue", None, None], "a session stays where it is"


async def test_a_pool_that_clients_may_not_ask_for_is_refused(pooled: httpx.AsyncClient) -> None:
    answer = await pooled.post("/v1/sessions", json={"deployment": "green"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "deployment")


async def test_a_reservation_gets_its_pool_when_its_caller_comes(database: Database) -> None:
    row = await put_session(database, status=SessionStatus.RESERVED, next_check_at=None)
    async with database.write() as db:
        await set_traffic(db, "agent", {"green": 100}, now=T0)
    async with database.write() as db:
        await request_reserved(db, row, limits=SessionLimitSettings(), join_budget_s=15, now=T0, joined=True)
    assert (await get_session(database, row.id)).deployment == "green"


@pytest.mark.sql
async def test_shares_are_stored_once_for_each_name(database: Database) -> None:
    for shares in ({"blue": 100}, {"green": 100}):
        async with database.write() as db:
            await set_traffic(db, "agent", shares, now=T0)
    async with database.read() as db:
        row = await read_traffic(db, "agent")
        assert row is not None
        assert (row.shares, row.changed_at) == ({"green": 100}, T0)
        assert await read_traffic(db, "billing") is None


def test_a_cause_says_which_pools_there_are() -> None:
    fleet = Fleet(
        [
            make_heartbeat("w-1", deployment="blue", active_jobs=10),
            make_heartbeat("w-2"),
            make_heartbeat("w-3", deployment="red", registered=False),
        ]
    )
    assert fleet.why_none("agent", "green") == (
        Cause.NO_WORKER_REGISTERED,
        {"agent_name": "agent", "pool": "green", "pools_seen": ["", "blue"]},
    )
    assert fleet.why_none("agent", "blue") == (Cause.WORKERS_AT_CAPACITY, {"workers": ["w-1"]})
    assert fleet.why_none("agent", "") is None
    assert (fleet.free_slots("agent", "blue"), fleet.free_slots("agent", ""), fleet.free_slots("agent")) == (
        0,
        10,
        10,
    )


@pytest.mark.sql
async def test_a_session_waits_for_a_slot_of_its_own_pool_and_in_its_line(
    database: Database, redis: Redis, dispatcher: Dispatcher, admission: Admission, rooms: FakeRooms
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-blue", deployment="blue", max_jobs=1, active_jobs=1))
    await beat_for_ever(redis, make_heartbeat("w-green", deployment="green", max_jobs=1))
    blue, also_blue, green = [
        await put_session(database, id=f"s-{n}", room_name=f"room-{n}", deployment=pool)
        for n, pool in enumerate(("blue", "blue", "green"))
    ]
    for row in (blue, also_blue, green):
        await dispatcher.dispatch_session(row.id)
    blue, also_blue, green = [await get_session(database, row.id) for row in (blue, also_blue, green)]
    assert (blue.waiting_for, also_blue.waiting_for) == ("workers_at_capacity", "workers_at_capacity")
    assert green.status == SessionStatus.DISPATCHED, "another pool's line holds nobody up"
    async with database.read() as db:
        assert [await place_in_line(db, row) for row in (blue, also_blue)] == [1, 2]
    await admission.advance()
    waiting = {"agent_name": "agent", "deployment": "blue", "cause": "workers_at_capacity"}
    assert REGISTRY.get_sample_value("sessions_waiting_in_pool", waiting) == 2
    await beat_for_ever(redis, make_heartbeat("w-blue", deployment="blue", max_jobs=1))
    assert await admission.advance() == 1
    assert (await get_session(database, blue.id)).claimed_until is None
    assert (await get_session(database, also_blue.id)).claimed_until is not None


async def test_the_gauges_know_pools(database: Database, redis: Redis) -> None:
    gauger = Gauger(database=database, redis=redis, queues=RedisQueues(redis), holder="me", now=utc_now)
    await beat_for_ever(redis, make_heartbeat("w-1", deployment="blue", active_jobs=3))
    await beat_for_ever(redis, make_heartbeat("w-2"))
    await gauger.look_at_fleet()
    of_blue = {"agent_name": "agent", "deployment": "blue"}
    assert REGISTRY.get_sample_value("fleet_pool_workers", {**of_blue, "state": "serving"}) == 1
    assert REGISTRY.get_sample_value("fleet_pool_slots", {**of_blue, "state": "free"}) == 7
    assert REGISTRY.get_sample_value("fleet_pool_slots", {**of_blue, "deployment": "", "state": "free"}) == 10


async def test_health_says_which_share_of_the_sessions_has_no_worker(
    pooled: httpx.AsyncClient, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1", deployment="blue"))
    await pooled.put(ROUTE, json={"blue": 90, "green": 10})
    body = (await pooled.get("/health/agent")).json()
    [found] = [root for root in body["root_cause"] if root["code"] == "no_worker_registered"]
    [pool] = found["evidence"]["pools"]
    assert (found["fatal"], pool["deployment"], pool["percent"]) == (False, "green", 10)
    assert [(one["deployment"], one["percent"], one["cause"]) for one in body["pools"]] == [
        ("blue", 90, None),
        ("green", 10, "no_worker_registered"),
    ]


@pytest.mark.parametrize(
    ("workers", "goes_to"),
    [
        ([("w-1", "blue", {}), ("w-2", "green", {})], "blue"),
        ([("w-1", "blue", {"active_jobs": 10}), ("w-2", "green", {})], "blue"),
        ([("w-1", "blue", {"draining": True}), ("w-2", "green", {})], "green"),
        ([("w-2", "green", {"active_jobs": 9}), ("w-3", "", {"active_jobs": 5})], ""),
        ([], "blue"),
    ],
)
async def test_a_lost_agent_is_replaced_in_its_pool_as_long_as_that_lives(
    bench: Bench, redis: Redis, workers: list[Any], goes_to: str
) -> None:
    for worker_id, pool, changes in workers:
        await beat_for_ever(redis, make_heartbeat(worker_id, deployment=pool, **changes))
    row = await bench.put(
        SessionStatus.ACTIVE, deployment="blue", attempt={"assigned_at": T0, "reported_at": T0}
    )
    stored = await bench.check(row)
    assert (stored.status, stored.pool) == (SessionStatus.DISPATCHING, goes_to)
    evidence = (await last_event(bench.database, row.id))["evidence"]
    moved = None if goes_to == "blue" else goes_to
    assert evidence.get("moved_to_pool") == moved


async def test_the_session_of_a_worker_that_does_not_report_stays_in_its_pool(
    bench: Bench, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1", deployment="green"))
    row = await bench.put(SessionStatus.ACTIVE, deployment="blue")
    assert await pool_for_revival(row, redis=redis, repository=bench.repository) == "blue"


async def test_a_revival_whose_pool_is_gone_meanwhile_moves_with_its_next_attempt(
    bench: Bench, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1", deployment="green"))
    row = await bench.put(
        SessionStatus.DISPATCHED,
        deployment="blue",
        revivals=1,
        max_attempts=3,
        deadline_at=T0 + timedelta(seconds=15),
        attempt={"reported_at": T0, "rejected_at": T0, "close_reason": "late"},
    )
    bench.clock.forward(seconds=2)
    stored = await bench.verify(row)
    assert (stored.status, stored.pool) == (SessionStatus.DISPATCHING, "green")
    evidence = (await last_event(bench.database, row.id))["evidence"]
    assert (evidence["pool"], evidence["moved_to_pool"]) == ("blue", "green")
