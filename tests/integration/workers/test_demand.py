"""How many slots are wanted: one number for an autoscaler, from the registry and the database."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, beat_for_ever, in_process
from tests.integration.rows import put_session
from tests.unit.making import T0, make_heartbeat


async def demand(client: httpx.AsyncClient, agent_name: str = "agent", **query: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/agents/{agent_name}/demand", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def put(database: Database, session_id: str, status: SessionStatus, **row: Any) -> None:
    values = {"room_name": session_id, "next_check_at": utc_now(), **row}
    await put_session(database, id=session_id, status=status, **values)


async def test_the_demand_is_what_is_in_use_and_who_waits_and_a_buffer(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    # One of its three jobs is not Rollcall's.
    await beat_for_ever(redis, make_heartbeat("w-1", active_jobs=3, sessions=["talks", "joins"]))
    await put(database, "talks", SessionStatus.ACTIVE)
    await put(database, "joins", SessionStatus.DISPATCHED)
    await put(database, "on-its-way", SessionStatus.DISPATCHED)
    await put(
        database,
        "in-line",
        SessionStatus.DISPATCHING,
        waiting_for=Cause.WORKERS_AT_CAPACITY,
        claimed_until=T0,
    )
    await put(database, "new", SessionStatus.REQUESTED)
    await put(database, "reserved", SessionStatus.RESERVED, next_check_at=None)
    await put(database, "over", SessionStatus.FAILED, next_check_at=None)
    await put(database, "other", SessionStatus.REQUESTED, agent_name="billing")
    assert await demand(client, buffer=4) == {
        "agent_name": "agent",
        "deployment": None,
        "wanted": 10,
        "busy": 3,
        "withheld": 0,
        "waiting": 3,
        "buffer": 4,
        "slots": 10,
    }
    assert (await demand(client, "billing"))["wanted"] == 1


async def test_a_cordoned_worker_is_of_no_use_and_one_that_drains_is_about_to_go(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1", active_jobs=3))
    await beat_for_ever(redis, make_heartbeat("w-2", active_jobs=2, cordoned=True))
    await beat_for_ever(redis, make_heartbeat("w-3", active_jobs=9, cordoned=True, draining=True))
    found = await demand(client)
    assert (found["busy"], found["withheld"], found["wanted"], found["slots"]) == (5, 8, 13, 20)


async def test_a_pool_has_a_demand_of_its_own(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1", active_jobs=3, deployment="blue"))
    await beat_for_ever(redis, make_heartbeat("w-2", active_jobs=1))
    await put(database, "in-blue", SessionStatus.REQUESTED, deployment="blue")
    await put(database, "in-none", SessionStatus.REQUESTED)
    assert [(await demand(client, deployment=pool))["wanted"] for pool in ("blue", "", "green")] == [4, 2, 0]
    assert (await demand(client))["wanted"] == 6


async def test_a_name_that_nobody_knows_has_the_demand_of_its_buffer(client: httpx.AsyncClient) -> None:
    assert (await demand(client, "Grüße, Welt"))["wanted"] == 0
    assert (await demand(client, "nobody", buffer=2))["wanted"] == 2


@pytest.mark.parametrize(("name", "query"), [("agent", {"buffer": -1}), ("agent", {"pool": "x"}), (" x", {})])
async def test_a_demand_that_is_asked_for_in_the_wrong_way_is_refused(
    client: httpx.AsyncClient, name: str, query: dict[str, Any]
) -> None:
    answer = await client.get(f"/v1/agents/{name}/demand", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_without_the_registry_no_number_is_told(sqlite_url: str, free_port: int) -> None:
    async with in_process(api_settings(sqlite_url, f"redis://127.0.0.1:{free_port}/0")) as client:
        answer = await client.get("/v1/agents/agent/demand")
    assert (answer.status_code, answer.json()["code"]) == (503, "registry_unreachable")
