"""Each worker has an address of its own, wherever it is registered; an address is never used twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.support.livekit_nodes import second_node
from tests.support.placed import (
    LIGHT_AGENT,
    NAME,
    chosen,
    freeze,
    registered,
    served_by,
    sessions,
    until_addressed,
    workers,
)
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.workers import OurWorker, our_worker

pytestmark = pytest.mark.faults


@pytest_asyncio.fixture
async def rollcall(placing: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(placing)
    yield client
    await client.close()


async def test_a_frozen_worker_is_named_and_its_sessions_get_other_agents(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    name = "ghost"
    async with our_worker(rollcall, agent_name=name, log=tmp_path / "frozen.log") as frozen:
        ghost = await until_addressed(rollcall, frozen)
        started = await rollcall.start_served(agent_name=name)
        async with workers(rollcall, tmp_path, name) as [other]:
            freeze(frozen)

            async def named() -> dict[str, Any] | None:
                found = await rollcall.get("/v1/workers")
                return next((one for one in found["lost"] if one["worker_id"] == ghost["worker_id"]), None)

            lost = await until(named, what="the frozen worker is named as lost")
            assert lost["pid"] == frozen.process.pid
            assert started["session_id"] in lost["sessions"]
            assert lost["beat_at"] >= ghost["beat_at"]

            async def revived() -> dict[str, Any] | None:
                found = await rollcall.session(started["session_id"])
                again = found["attempt"] > started["attempt"]
                return found if found["status"] == "active" and again else None

            session = await until(revived, what="its session has another agent")
            assert session["attempts"][-1]["worker_id"] == (await registered(rollcall, other))["worker_id"]
            await sessions(rollcall, board, 2, name)
            await rollcall.end(started["session_id"])


async def test_a_worker_that_comes_back_under_the_same_host_name_has_another_address(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    name = "comes-back"
    before: list[dict[str, Any]] = []
    async with AsyncExitStack() as running:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            [worker] = await running.enter_async_context(workers(rollcall, folder, name))
            now = await registered(rollcall, worker)
            assert {one["host"] for one in before} <= {now["host"]}
            assert now["address"] not in {one["address"] for one in before}
            # LiveKit still lists the former ones under the same name and host.
            for verdict in await sessions(rollcall, board, 3, name):
                assert (chosen(verdict), served_by(verdict)) == ([now["worker_id"]], now["worker_id"])
            before.append(now)
            freeze(worker)

            async def unheard(worker: OurWorker = worker) -> bool:
                return not await registered(rollcall, worker)

            await until(unheard, what="the frozen worker's heartbeat has expired")
        lost = [one["worker_id"] for one in (await rollcall.get("/v1/workers"))["lost"]]
        assert {one["worker_id"] for one in before} <= set(lost)


async def test_two_installations_with_the_same_agent_name_take_no_calls_of_each_other(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    name = "of-two"
    elsewhere = {"REDIS_URL": rollcall.stack.env["REDIS_URL"].removesuffix("/0") + "/5"}
    log = tmp_path / "of-others.log"
    async with (
        our_worker(rollcall, agent_name=name, log=log, env=elsewhere, program=LIGHT_AGENT, in_registry=False),
        workers(rollcall, tmp_path, name) as [ours],
    ):
        worker_id = (await registered(rollcall, ours))["worker_id"]
        for verdict in await sessions(rollcall, board, 6, name):
            assert (chosen(verdict), served_by(verdict)) == ([worker_id], worker_id)


async def test_workers_at_several_nodes_of_livekit_are_each_reached_by_their_address(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    name = "of-two-nodes"
    async with second_node(placing) as url, AsyncExitStack() as running:
        ids = []
        for folder, env in ((tmp_path / "near", {}), (tmp_path / "far", {"LIVEKIT_URL": url})):
            folder.mkdir()
            [worker] = await running.enter_async_context(workers(rollcall, folder, name, **env))
            ids.append((await registered(rollcall, worker))["worker_id"])
        verdicts = await sessions(rollcall, board, 6, name)
        assert [chosen(verdict) for verdict in verdicts] == [[served_by(verdict)] for verdict in verdicts]
        assert {served_by(verdict) for verdict in verdicts} == set(ids), "both nodes' workers have calls"


async def test_after_a_restart_of_livekit_each_worker_has_another_address(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    async with workers(rollcall, tmp_path, NAME, NAME) as both:
        before = [await registered(rollcall, worker) for worker in both]
        livekit = placing.process("livekit")
        await livekit.stop()
        await livekit.start()
        after = await asyncio.gather(
            *(
                until_addressed(rollcall, worker, other_than=was["worker_id"])
                for worker, was in zip(both, before, strict=True)
            )
        )
        assert len({one["address"] for one in (*before, *after)}) == 4, "no address is used twice"
        assert len({one["worker_id"] for one in (*before, *after)}) == 4
        for verdict in await sessions(rollcall, board, 4):
            assert chosen(verdict) == [served_by(verdict)]
