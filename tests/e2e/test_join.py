"""The join is proven on a real LiveKit server, or its absence is explained."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from livekit import api

from cli.call.caller import Caller
from devstack.process import Process
from devstack.stack import Stack
from shared.contracts.identifiers import new_id
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until
from tests.support.workers import foreign_worker

pytestmark = pytest.mark.e2e

NAME = "joiner"
REGISTERED = "registered worker"


@pytest_asyncio.fixture(scope="module")
async def joiner_log(agentless_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The log of a running worker named `joiner`, which knows nothing of us."""
    log = tmp_path_factory.mktemp("joiner") / "worker.log"
    async with foreign_worker(agentless_stack, agent_name=NAME, log=log):
        yield log


@pytest.mark.usefixtures("joiner_log")
async def test_a_worker_that_knows_nothing_of_us_is_verified_too(agentless: Rollcall) -> None:
    started = await agentless.start(agent_name=NAME)
    session = await agentless.until_status(started["session_id"], "active")
    assert await agentless.agents_in(started["room_name"]) == [session["agent_identity"]]
    assert session["attempts"][0]["outcome"] == "joined"
    await agentless.end(started["session_id"])
    await agentless.until_gone(started["room_name"])


async def test_a_worker_that_comes_up_late_still_gets_the_session(
    agentless: Rollcall, worker_log: Path
) -> None:
    # It registers after the first dispatch, and within the join budget: all that takes long comes before.
    go = worker_log.with_suffix(".go")
    stack, env = agentless.stack, {"GO": str(go)}

    async def imported() -> bool:
        return "imported" in worker_log.read_text()

    async with foreign_worker(stack, agent_name="latecomer", log=worker_log, wait=False, env=env):
        await until(imported, what="the worker has only to register")
        started = await agentless.start(agent_name="latecomer")
        await agentless.until_event(started["session_id"], "dispatch.accepted.v1")
        go.touch()
        session = await agentless.until_status(started["session_id"], "active")
        assert session["attempt"] >= 2, "LiveKit never delivers a job that nobody took at once"
        assert await agentless.agents_in(started["room_name"]) == [session["agent_identity"]]
        await agentless.end(started["session_id"])


async def test_two_hundred_posts_with_one_key_bring_one_agent(rollcall: Rollcall) -> None:
    answers = await asyncio.gather(*(rollcall.start(idempotency_key="tap-tap") for _ in range(200)))
    [(session_id, room_name)] = {(answer["session_id"], answer["room_name"]) for answer in answers}
    session = await rollcall.until_status(session_id, "active")
    assert session["attempt"] == 1
    assert await rollcall.agents_in(room_name) == [session["agent_identity"]]
    await rollcall.end(session_id)
    await rollcall.until_gone(room_name)


async def test_a_room_that_exists_already_gets_its_agent_and_its_guests_stay(rollcall: Rollcall) -> None:
    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(api.CreateRoomRequest(name="lobby", metadata="theirs"))
        started = await rollcall.start(room_name="lobby")
        session = await rollcall.until_status(started["session_id"], "active")
        assert await rollcall.agents_in("lobby") == [session["agent_identity"]]
        [room] = (await livekit.room.list_rooms(api.ListRoomsRequest(names=["lobby"]))).rooms
        assert room.metadata == "theirs"
    await rollcall.end(started["session_id"])
    await rollcall.until_gone("lobby")


async def test_a_caller_who_is_quicker_than_the_dispatch_makes_no_second_agent(rollcall: Rollcall) -> None:
    dispatcher = rollcall.stack.process("dispatcher")
    await rollcall.freeze("dispatcher")
    try:
        started = await rollcall.start()
        caller = Caller(server_url=started["server_url"], token=started["participant_token"])
        await caller.join()  # and so makes the room
    finally:
        dispatcher.thaw()
    try:
        session = await rollcall.until_status(started["session_id"], "active")
        await caller.wait_until_agent_quiet(60)
        assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
    finally:
        await caller.leave()
    await rollcall.until_status(started["session_id"], "ended")


@pytest.mark.usefixtures("joiner_log")
async def test_a_worker_without_a_name_is_kept_out_of_our_rooms_and_told_of_in_others(
    agentless: Rollcall, worker_log: Path
) -> None:
    dispatcher = agentless.stack.process("dispatcher")
    async with (
        AsyncExitStack() as callers,
        foreign_worker(agentless.stack, agent_name="", log=worker_log),
    ):
        await agentless.freeze("dispatcher")
        try:
            ours = await agentless.start(agent_name=NAME)
            theirs = await agentless.start(agent_name=NAME, room_name=f"theirs-{new_id()}")
            for started in (ours, theirs):
                await callers.enter_async_context(guest(started))  # and so makes the room

                async def sent(room: str = started["room_name"]) -> bool:
                    return bool(await agentless.agents_in(room))

                await until(sent, what="LiveKit has sent the worker without a name")
        finally:
            dispatcher.thaw()
        told = {}
        for started in (ours, theirs):
            await agentless.until_status(started["session_id"], "active")
            event = await agentless.until_event(started["session_id"], "agent.foreign_seen.v1")
            told[started["session_id"]] = event["data"]["removed"]
        assert told == {ours["session_id"]: True, theirs["session_id"]: False}

        async def alone() -> bool:
            session = await agentless.session(ours["session_id"])
            return await agentless.agents_in(ours["room_name"]) == [session["agent_identity"]]

        await until(alone, what="the session's agent is the only one")
        assert len(await agentless.agents_in(theirs["room_name"])) == 2
        answer = await agentless.health("/health/agent")
        assert [finding["code"] for finding in answer["findings"]] == ["unnamed_worker"]
        for started in (ours, theirs):
            await agentless.end(started["session_id"])


async def test_livekit_back_in_time_means_no_failure(agentless: Rollcall, joiner_log: Path) -> None:
    livekit: Process = agentless.stack.process("livekit")
    before = joiner_log.read_text().count(REGISTERED)
    await livekit.stop()
    started = await agentless.start(agent_name=NAME)
    await agentless.until_event(started["session_id"], "session.waiting.v1")
    await livekit.start()

    async def registered_again() -> bool:
        return joiner_log.read_text().count(REGISTERED) > before

    await until(registered_again, what="the worker is back")
    session = await agentless.session(started["session_id"])
    if session["status"] == "failed":  # the worker took longer to come back than the budget allows
        assert session["failure"]["cause"] in {"no_worker_registered", "livekit_unreachable"}
    again = await agentless.start(agent_name=NAME)
    active = await agentless.until_status(again["session_id"], "active")
    assert await agentless.agents_in(again["room_name"]) == [active["agent_identity"]]
    await agentless.end(again["session_id"])


@pytest.mark.usefixtures("joiner_log")
async def test_two_workers_and_one_session_make_one_agent(agentless: Rollcall, worker_log: Path) -> None:
    async with foreign_worker(agentless.stack, agent_name=NAME, log=worker_log):
        started = await asyncio.gather(*(agentless.start(agent_name=NAME) for _ in range(4)))
        for one in started:
            session = await agentless.until_status(one["session_id"], "active")
            assert await agentless.agents_in(one["room_name"]) == [session["agent_identity"]]
        for one in started:
            await agentless.end(one["session_id"])
