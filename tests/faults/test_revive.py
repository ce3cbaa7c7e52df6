"""An agent that dies during a conversation is replaced within seconds; one that is done is not."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import psutil
import pytest
import pytest_asyncio
from livekit import api

from devstack.stack import Stack
from tests.support.guests import guest
from tests.support.scoreboard import Finding, Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.verdicts import Verdict, judge, until_over
from tests.support.workers import OurWorker, our_worker

pytestmark = pytest.mark.faults

NAME = "phoenix"


@pytest_asyncio.fixture
async def rollcall(agent_stack: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(agent_stack)
    yield client
    await client.close()


@pytest_asyncio.fixture(scope="module")
async def workers(
    agent_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[OurWorker]]:
    """Two workers of ours under one name."""
    logs = tmp_path_factory.mktemp("phoenixes")
    async with AsyncExitStack() as running:
        rollcall = Rollcall(agent_stack)
        running.push_async_callback(rollcall.close)
        both = (our_worker(rollcall, agent_name=NAME, log=logs / f"{number}.log") for number in (1, 2))
        running_workers = await asyncio.gather(*(running.enter_async_context(worker) for worker in both))
        # The first jobs of a new worker may start too late on a busy machine.
        await rollcall.end((await rollcall.start_served(agent_name=NAME))["session_id"])
        yield running_workers


async def test_the_job_process_is_killed(
    rollcall: Rollcall, workers: list[OurWorker], board: Scoreboard
) -> None:
    await _idle(workers)

    def kill() -> None:
        assert sum(worker.send_to_jobs(signal.SIGKILL) for worker in workers) == 1

    await _replaced(rollcall, board, "SIGKILL of the job's process", "worker_died", kill)


async def test_the_job_process_hangs(rollcall: Rollcall, workers: list[OurWorker], board: Scoreboard) -> None:
    await _idle(workers)
    hung: list[psutil.Process] = []

    def freeze() -> None:
        hung.extend(process for worker in workers for process in worker.job_processes())
        assert len(hung) == 1
        hung[0].suspend()

    try:
        await _replaced(rollcall, board, "the job's process hangs (SIGSTOP)", "worker_died", freeze)
    finally:
        for process in hung:
            with suppress(psutil.NoSuchProcess):
                process.kill()


async def test_the_agent_is_removed(rollcall: Rollcall, workers: list[OurWorker], board: Scoreboard) -> None:
    started = await rollcall.start(agent_name=NAME)
    async with guest(started):
        first = await rollcall.until_status(started["session_id"], "active")
        await _remove(rollcall, first)
        await _one_replacement(rollcall, board, started, first, "the agent is removed", "agent_left")
        await rollcall.end(started["session_id"])


async def test_at_most_so_many_revivals(
    rollcall: Rollcall, workers: list[OurWorker], board: Scoreboard
) -> None:
    started = await rollcall.start(agent_name=NAME)
    session_id = started["session_id"]
    async with guest(started):
        for revival in range(3):
            session = await rollcall.until_status(session_id, "active")
            await _remove(rollcall, session)
            if revival < 2:
                await _until_lost(rollcall, session_id, revival + 1)
        verdict = await until_over(rollcall, session_id)
    judge(board, verdict, "the agent is removed, again and again", "agent_left", note="MAX_REVIVALS=2")
    assert [lost["revival"] for lost in verdict.all("agent.lost.v1")] == [1, 2]


@pytest.mark.parametrize("how", ["the caller leaves", "DELETE"])
async def test_a_normal_end_is_not_revived(how: str, rollcall: Rollcall, workers: list[OurWorker]) -> None:
    started = await rollcall.start(agent_name=NAME)
    async with guest(started):
        await rollcall.until_event(started["session_id"], "agent.ready.v1")
        if how == "DELETE":
            await rollcall.end(started["session_id"])
    verdict = await until_over(rollcall, started["session_id"])
    assert verdict.session["status"] == "ended"
    assert verdict.count("agent.lost.v1") == 0
    await rollcall.until_gone(started["room_name"])


async def test_the_whole_worker_is_killed_and_another_takes_over(
    rollcall: Rollcall, workers: list[OurWorker], board: Scoreboard
) -> None:
    # The last test of this file, since it leaves only one worker.
    pids = {worker.process.pid: worker for worker in workers}

    async def kill_its_worker(session: dict[str, Any]) -> None:
        known = (await rollcall.get("/v1/workers"))["workers"]
        of_it = session["attempts"][-1]["worker_id"]
        [pid] = [worker["pid"] for worker in known if worker["worker_id"] == of_it]
        pids[pid].send(signal.SIGKILL)

    started = await rollcall.start(agent_name=NAME)
    async with guest(started):
        first = await _active_with_worker(rollcall, started["session_id"])
        began = time.time()
        await kill_its_worker(first)
        scenario = "SIGKILL of the whole worker"
        await _one_replacement(rollcall, board, started, first, scenario, "worker_died", began=began)
        await rollcall.end(started["session_id"])


async def _idle(workers: list[OurWorker]) -> None:
    """Wait until no job of an earlier session runs any more."""

    async def idle() -> bool:
        return not any(worker.job_processes() for worker in workers)

    await until(idle, what="no job runs")


async def _replaced(
    rollcall: Rollcall, board: Scoreboard, scenario: str, cause: str, harm: Callable[[], None]
) -> None:
    started = await rollcall.start(agent_name=NAME)
    async with guest(started):
        first = await _active_with_worker(rollcall, started["session_id"])
        began = time.time()
        harm()
        await _one_replacement(rollcall, board, started, first, scenario, cause, began=began)
        await rollcall.end(started["session_id"])


async def _active_with_worker(rollcall: Rollcall, session_id: str) -> dict[str, Any]:
    """The session, active and its agent ready."""
    await rollcall.until_event(session_id, "agent.ready.v1")
    return await rollcall.until_status(session_id, "active")


async def _one_replacement(
    rollcall: Rollcall,
    board: Scoreboard,
    started: dict[str, Any],
    first: dict[str, Any],
    scenario: str,
    cause: str,
    *,
    began: float | None = None,
) -> None:
    """The agent is replaced once, for the right cause, and alone in the room."""
    began = began or time.time()
    session_id = started["session_id"]
    await _until_lost(rollcall, session_id, 1)
    second = await rollcall.until_status(session_id, "active")
    verdict = Verdict(second, await rollcall.events(session_id))
    [lost] = verdict.all("agent.lost.v1")
    assert second["agent_identity"] != first["agent_identity"]
    assert second["attempt"] == first["attempt"] + 1
    agents = await rollcall.agents_in(started["room_name"])
    board.double_agents += len(agents) > 1
    board.missing_agents += not agents
    board.add(
        Finding(
            scenario,
            (cause,),
            lost["cause"],
            lost_s=_since(began, verdict, "agent.lost.v1"),
            replaced_s=_since(began, verdict, "agent.joined.v1"),
        )
    )
    assert agents == [second["agent_identity"]]


def _since(began: float, verdict: Verdict, event_type: str) -> float:
    """Seconds to the last event of this type."""
    return verdict.last_time(event_type).timestamp() - began


async def _until_lost(rollcall: Rollcall, session_id: str, times: int) -> None:
    async def lost() -> bool:
        return (await rollcall.event_types(session_id)).count("agent.lost.v1") >= times

    await until(lost, what="the loss is noticed")


async def _remove(rollcall: Rollcall, session: dict[str, Any]) -> None:
    who = api.RoomParticipantIdentity(room=session["room_name"], identity=session["agent_identity"])
    async with rollcall.livekit() as livekit:
        await livekit.room.remove_participant(who)
