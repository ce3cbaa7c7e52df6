"""Rollcall chooses the worker of a call, and another one if that one does nothing."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.stack import Stack
from services.verifier.prove.answers import FEWEST, window_s
from shared.contracts.keys import circuit_pause_key, worker_answers_key, worker_key
from shared.core.workers.placing import CIRCUIT, MOST_IN_VAIN
from shared.core.workers.track_record import circuit_of
from shared.platform.redis.client import connect_redis
from tests.support.placed import (
    NAME,
    chosen,
    freeze,
    light_worker,
    registered,
    served_by,
    sessions,
    until_addressed,
    workers,
)
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.workers import foreign_worker, our_worker

pytestmark = pytest.mark.faults

# A worker of an address that nobody has: dispatches to it do not arrive, as on a server that drops them.
LOST_ADDRESS = """
from rollcall_agent.worker.address import Address
from tests.support.light_agent import main
Address.address = property(lambda self: self._standing and "rollcall-nobody")
main()
"""
OWN_WINDOW_S = 3.0


@pytest_asyncio.fixture
async def rollcall(placing: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(placing)
    yield client
    await client.close()


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


async def test_an_emptied_registry_costs_no_call_and_knows_every_worker_again(
    rollcall: Rollcall, placing: Stack, board: Scoreboard, tmp_path: Path
) -> None:
    name = "forgotten"
    redis = connect_redis(placing.env["REDIS_URL"])
    log, full = tmp_path / "full.log", {"AGENT_MAX_JOBS": "1"}
    async with our_worker(rollcall, agent_name=name, log=log, env=full) as holder, aclosing(redis):
        await until_addressed(rollcall, holder)
        before = await rollcall.start_served(agent_name=name)
        async with workers(rollcall, tmp_path, name) as [other]:
            worker_id = (await registered(rollcall, other))["worker_id"]
            await redis.flushdb()
            for verdict in await sessions(rollcall, board, 2, name):
                assert chosen(verdict)[-1] in (None, worker_id)
                assert served_by(verdict) == worker_id
            for worker in (holder, other):
                await until_addressed(rollcall, worker)
            for _ in range(4):
                for verdict in await sessions(rollcall, board, 1, name):
                    assert (chosen(verdict), served_by(verdict)) == ([worker_id], worker_id)
        after = await rollcall.session(before["session_id"])
        assert (after["status"], after["attempt"]) == ("active", before["attempt"])
        await rollcall.end(before["session_id"])
