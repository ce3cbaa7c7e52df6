"""Rollcall chooses the worker of a call, and another one if that one does nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.stack import Stack
from services.verifier.prove.answers import FEWEST, window_s
from shared.contracts.keys import circuit_pause_key, worker_answers_key, worker_key
from shared.core.workers.placing import CIRCUIT, MOST_IN_VAIN
from shared.core.workers.track_record import circuit_of
from shared.platform.redis.client import connect_redis
from tests.faults.conftest import CONTROL_PLANE
from tests.support.livekit_nodes import second_node
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.verdicts import Verdict, until_over
from tests.support.workers import OurWorker, foreign_worker, our_worker

pytestmark = pytest.mark.faults

NAME = "placed"
LIGHT_AGENT = "from tests.support.light_agent import main; main()"
# A worker of an address that nobody has: dispatches to it do not arrive, as on a server that drops them.
LOST_ADDRESS = """
from rollcall_agent.worker.address import Address
from tests.support.light_agent import main
Address.address = property(lambda self: self._standing and "rollcall-nobody")
main()
"""
OWN_WINDOW_S = 3.0


@pytest_asyncio.fixture(scope="module")
async def placing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A control plane of this file's own: its LiveKit server is restarted."""
    state = tmp_path_factory.mktemp("placing")
    async with Stack(state, env=clean_environment(), services=[*CONTROL_PLANE, "inference"]) as stack:
        yield stack


@pytest_asyncio.fixture
async def rollcall(placing: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(placing)
    yield client
    await client.close()


def light_worker(
    rollcall: Rollcall, name: str, log: Path, **env: str
) -> AbstractAsyncContextManager[OurWorker]:
    return our_worker(rollcall, agent_name=name, log=log, env=env, program=LIGHT_AGENT)


@asynccontextmanager
async def workers(
    rollcall: Rollcall, folder: Path, *names: str, **env: str
) -> AsyncIterator[list[OurWorker]]:
    """Workers of ours, with an address each."""
    async with AsyncExitStack() as running:
        started = [
            await running.enter_async_context(
                light_worker(rollcall, name, folder / f"worker-{number}.log", **env)
            )
            for number, name in enumerate(names)
        ]
        for worker in started:
            await until_addressed(rollcall, worker)
        yield started


async def registered(rollcall: Rollcall, worker: OurWorker) -> dict[str, Any]:
    found = (await rollcall.get("/v1/workers"))["workers"]
    return next((one for one in found if one["pid"] == worker.process.pid), {})


async def until_addressed(rollcall: Rollcall, worker: OurWorker, *, other_than: str = "") -> dict[str, Any]:
    async def addressed() -> dict[str, Any] | None:
        found = await registered(rollcall, worker)
        address, registered_as = found.get("address"), found.get("worker_id")
        return found if address is not None and registered_as != other_than and found["registered"] else None

    found: dict[str, Any] = await until(addressed, what="the worker has an address")
    return found


async def sessions(rollcall: Rollcall, board: Scoreboard, number: int, name: str = NAME) -> list[Verdict]:
    """Sessions, all at once, each with its agent; ended again."""
    started = [await rollcall.start(agent_name=name) for _ in range(number)]
    joined = []
    for one in started:
        session = await rollcall.until_status(one["session_id"], "active", "failed")
        joined.append(session["status"] == "active")
        await rollcall.end(one["session_id"])
    verdicts = [await until_over(rollcall, one["session_id"]) for one in started]
    board.sessions += number
    board.missing_agents += joined.count(False)
    board.double_agents += sum(verdict.count("agent.extra_removed.v1") > 0 for verdict in verdicts)
    assert all(joined)
    return verdicts


def chosen(verdict: Verdict) -> list[str | None]:
    """The worker of each attempt."""
    return [event["worker_id"] for event in verdict.all("dispatch.started.v1")]


def served_by(verdict: Verdict) -> str:
    return str(verdict.all("agent.assigned.v1")[-1]["worker_id"])


def freeze(worker: OurWorker) -> None:
    os.killpg(worker.process.pid, signal.SIGSTOP)


async def test_a_call_goes_to_the_worker_that_was_chosen(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    async with workers(rollcall, tmp_path, NAME, NAME) as both:
        ids = {(await registered(rollcall, worker))["worker_id"] for worker in both}
        verdicts = await sessions(rollcall, board, 6)
        assert [chosen(verdict) for verdict in verdicts] == [[served_by(verdict)] for verdict in verdicts]
        assert {served_by(verdict) for verdict in verdicts} == ids, "the least busy one is chosen"


async def test_a_frozen_worker_delays_no_call_by_more_than_the_first_window(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    async with workers(rollcall, tmp_path, NAME, NAME) as (lost, other):
        lives = (await registered(rollcall, other))["worker_id"]
        gone = (await registered(rollcall, lost))["worker_id"]
        await sessions(rollcall, board, 2)
        freeze(lost)
        for verdict in await sessions(rollcall, board, 6):
            assert served_by(verdict) == lives
            assert chosen(verdict) in ([lives], [gone, lives]), "another attempt goes to another worker"

        async def unheard() -> bool:
            return not await registered(rollcall, lost)

        await until(unheard, what="the frozen worker's heartbeat has expired")
        for verdict in await sessions(rollcall, board, 4):
            assert chosen(verdict) == [lives], "LiveKit still lists the other one, and is not asked to draw"


async def test_a_worker_that_does_nothing_is_left_out_and_gets_calls_again_once_it_works(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    name = "half-dead"
    redis = connect_redis(placing.env["REDIS_URL"])
    async with workers(rollcall, tmp_path, name, name) as (lost, other), aclosing(redis):
        lives = (await registered(rollcall, other))["worker_id"]
        gone = (await registered(rollcall, lost))["worker_id"]
        pause = circuit_pause_key(circuit_of(gone))
        freeze(lost)
        await redis.persist(worker_key(gone))  # the rest of its process still beats
        missed: list[dict[str, Any]] = []

        async def left_out() -> bool:
            for verdict in await sessions(rollcall, board, 3, name):
                missed.extend(verdict.all("agent.missing.v1"))
            circuit = (await registered(rollcall, lost)).get("circuit")
            return circuit is not None and not circuit["ignored"]

        await until(left_out, what="the frozen worker's circuit is open", timeout_s=120)
        await redis.persist(pause)
        for verdict in await sessions(rollcall, board, 6, name):
            assert chosen(verdict) == [lives], "no session loses time to it"
        assert {one["evidence"]["worker_id"] for one in missed} == {gone}
        assert missed[-1]["evidence"]["worker_before"].startswith("took 0 of the last ")

        os.killpg(lost.process.pid, signal.SIGCONT)
        await redis.pexpire(worker_key(gone), 3_000)
        await until_addressed(rollcall, lost)
        await redis.delete(pause)

        async def takes_calls() -> bool:
            verdicts = await sessions(rollcall, board, 2, name)
            thawed = await registered(rollcall, lost)
            served = {served_by(verdict) for verdict in verdicts}
            return thawed.get("worker_id") in served and thawed["circuit"] is None

        await until(takes_calls, what="the thawed worker gets calls again", timeout_s=120)


async def test_a_worker_is_waited_for_as_long_as_its_own_history_allows(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    name = "quick"
    redis = connect_redis(placing.env["REDIS_URL"])
    async with workers(rollcall, tmp_path, name, name) as (lost, other), aclosing(redis):
        lives = (await registered(rollcall, other))["worker_id"]
        gone = (await registered(rollcall, lost))["worker_id"]
        for _ in range(3):
            for verdict in await sessions(rollcall, board, 8, name):
                assert len(chosen(verdict)) == 1, "a burst makes no needless attempt"
        answers = [int(ms) / 1000 for ms in await redis.lrange(worker_answers_key(gone), 0, -1)]
        assert len(answers) >= FEWEST
        window = window_s(answers, longest_s=OWN_WINDOW_S)
        freeze(lost)
        await redis.persist(worker_key(gone))
        missed: list[dict[str, Any]] = []

        async def met() -> bool:
            [verdict] = await sessions(rollcall, board, 1, name)
            missed.extend(verdict.all("agent.missing.v1"))
            assert served_by(verdict) == lives
            return bool(missed)

        await until(met, what="a session was sent to the frozen worker", timeout_s=120)
        assert missed[0]["evidence"].get("window_s", OWN_WINDOW_S) == pytest.approx(window, abs=0.002)


async def test_where_addressed_dispatches_never_arrive_calls_go_by_name_and_one_tries_again(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    redis = connect_redis(placing.env["REDIS_URL"])
    async with aclosing(redis):
        async with our_worker(
            rollcall, agent_name="lost-mail", log=tmp_path / "lost.log", program=LOST_ADDRESS
        ) as worker:
            worker_id = (await until_addressed(rollcall, worker))["worker_id"]
            went: list[list[str | None]] = []

            async def by_name() -> bool:
                [verdict] = await sessions(rollcall, board, 1, "lost-mail")
                assert served_by(verdict) == worker_id
                went.append(chosen(verdict))
                return went[-1] == [None]

            await until(by_name, what="calls go by name", timeout_s=120)
            assert went[:-1] == [[worker_id, None]] * MOST_IN_VAIN
        async with workers(rollcall, tmp_path, NAME) as [other]:
            delivered = (await registered(rollcall, other))["worker_id"]
            assert chosen((await sessions(rollcall, board, 1))[0]) == [None]
            await redis.delete(circuit_pause_key(CIRCUIT))
            for _ in range(2):
                assert chosen((await sessions(rollcall, board, 1))[0]) == [delivered]


async def test_workers_without_an_address_are_dispatched_to_by_name(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    async with light_worker(rollcall, "plain", tmp_path / "worker.log", LIVEKIT_PLACEMENT="off"):
        for verdict in await sessions(rollcall, board, 2, "plain"):
            assert chosen(verdict) == [None]


async def test_where_both_kinds_serve_a_name_those_that_report_are_chosen_while_they_have_room(
    rollcall: Rollcall, board: Scoreboard, tmp_path: Path
) -> None:
    name = "both-kinds"
    async with (
        foreign_worker(rollcall.stack, agent_name=name, log=tmp_path / "foreign.log"),
    ):
        first = await rollcall.start(agent_name=name)
        await rollcall.until_status(first["session_id"], "active")
        async with workers(rollcall, tmp_path, name, AGENT_MAX_JOBS="1") as [ours]:
            worker_id = (await registered(rollcall, ours))["worker_id"]
            second = await rollcall.start(agent_name=name)
            assert (await rollcall.until_status(second["session_id"], "active"))["attempt"] == 1
            third = await rollcall.start(agent_name=name)
            await rollcall.until_status(third["session_id"], "active")
            started = [
                [
                    e["data"]["worker_id"]
                    for e in await rollcall.events(one["session_id"])
                    if "worker_id" in e["data"]
                ]
                for one in (second, third)
            ]
            assert started[0][0] == worker_id
            assert started[1][0] is None, "ours is full: LiveKit draws among the others"
            for one in (first, second, third):
                await rollcall.end(one["session_id"])


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
