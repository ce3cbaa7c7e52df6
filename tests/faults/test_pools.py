"""Two pools of workers under one name: each session goes to its own, and moves only if that one is gone."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.support.light_agent import FAILS
from tests.support.sessions import Rollcall, until
from tests.support.workers import OurWorker, our_worker

pytestmark = pytest.mark.faults

NAME = "pooled"
LIGHT_AGENT = "from tests.support.light_agent import main; main()"
TRAFFIC = f"/v1/agents/{NAME}/traffic"


@pytest_asyncio.fixture
async def rollcall(agent_stack: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(agent_stack)
    yield client
    await client.close()


async def pool_of(rollcall: Rollcall, session: dict[str, Any]) -> str:
    """The pool of the worker that has the session's last attempt."""
    workers = (await rollcall.get("/v1/workers"))["workers"]
    worker_id = session["attempts"][-1]["worker_id"]
    return next(str(worker["deployment"]) for worker in workers if worker["worker_id"] == worker_id)


async def test_traffic_goes_by_shares_and_a_session_leaves_its_pool_only_when_that_is_gone(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:

        async def worker(pool: str) -> OurWorker:
            env = {"LIVEKIT_AGENT_DEPLOYMENT": pool}
            log = tmp_path / f"{pool}.log"
            return await stack.enter_async_context(our_worker(rollcall, agent_name=NAME, log=log, env=env))

        blue, _ = await asyncio.gather(worker("blue"), worker("green"))
        session_ids = []
        for pool in ("blue", "green"):
            await rollcall.put(TRAFFIC, {"blue": 0, "green": 0, pool: 100})
            session = await rollcall.start_served(agent_name=NAME)
            assert (session["deployment"], await pool_of(rollcall, session)) == (pool, pool)
            session_ids.append(session["session_id"])

        await rollcall.put(TRAFFIC, {"red": 100})
        unserved = await rollcall.start(agent_name=NAME)

        blue.send(signal.SIGKILL)

        async def moved() -> dict[str, Any] | None:
            found = await rollcall.session(session_ids[0])
            return found if found["status"] == "active" and found["attempt"] > 1 else None

        session = await until(moved, what="the session of the killed pool has an agent of the other one")
        assert (session["deployment"], await pool_of(rollcall, session)) == ("green", "green")
        told = [event["data"].get("evidence", {}) for event in await rollcall.events(session_ids[0])]
        moves = [(one["pool"], one["moved_to_pool"]) for one in told if "moved_to_pool" in one]
        assert moves == [("blue", "green")]

        failed = await rollcall.until_status(unserved["session_id"], "failed")
        assert failed["failure"]["cause"] == "no_worker_registered"
        assert "green" in failed["failure"]["evidence"]["pools_seen"]
        for session_id in session_ids:
            await rollcall.end(session_id)
        await rollcall.put(TRAFFIC, {})


async def test_a_pool_whose_agents_fail_loses_its_share_until_it_is_given_back(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    name = "failing-pool"
    traffic, shares = f"/v1/agents/{name}/traffic", {"blue": 50, "green": 50}
    async with AsyncExitStack() as stack:

        async def worker(pool: str, fails: str) -> None:
            env = {"LIVEKIT_AGENT_DEPLOYMENT": pool, FAILS: fails}
            log = tmp_path / f"{pool}.log"
            light = our_worker(rollcall, agent_name=name, log=log, env=env, program=LIGHT_AGENT)
            await stack.enter_async_context(light)

        await asyncio.gather(worker("blue", ""), worker("green", "yes"))
        await rollcall.put(traffic, shares)
        started: list[str] = []

        async def taken_back() -> dict[str, Any] | None:
            """Sessions go on coming, until the share is taken back."""
            open_ones = [one for one in started[-4:] if not await _is_settled(rollcall, one)]
            if len(open_ones) < 2:
                started.append((await rollcall.start(agent_name=name))["session_id"])
            found = await rollcall.get(traffic)
            return found if found["taken_back"] else None

        found = await until(taken_back, what="the failing pool has no share any more")
        assert found["shares"] == {"blue": 100, "green": 0}
        [taken] = found["taken_back"]
        assert (taken["deployment"], taken["percent"]) == ("green", 50)
        assert taken["sessions"] >= taken["failed"] >= 2
        told = [
            event["data"]["deployment"]
            for one in started
            for event in await rollcall.events(one)
            if event["type"] == "pool.share_taken_back.v1"
        ]
        assert told == ["green"], "one session tells of it, once"

        for _ in range(3):
            started.append((await rollcall.start(agent_name=name))["session_id"])
            session = await rollcall.until_status(started[-1], "active")
            assert (session["deployment"], session["attempt"]) == ("blue", 1)
        given_back = await rollcall.put(traffic, shares)
        assert (given_back["shares"], given_back["taken_back"]) == (shares, [])
        for one in started:
            await rollcall.end(one)
        await rollcall.put(traffic, {})


async def _is_settled(rollcall: Rollcall, session_id: str) -> bool:
    return (await rollcall.session(session_id))["status"] in ("active", "failed")
