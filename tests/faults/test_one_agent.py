"""Exactly one agent, whatever happens to calls, tasks and processes: two of each process, and chaos."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from livekit import api

from devstack.stack import Stack
from shared.contracts.keys import DISPATCH_TASK, SESSION_ATTRIBUTE, VERIFY_TASK
from shared.core.sessions.tables import SessionRow
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.database.database import Database
from tests.support.census import take_census
from tests.support.gate import Gate
from tests.support.guests import guest
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.faults

PROCESSES = ("dispatcher", "dispatcher-2", "verifier", "verifier-2")


@pytest_asyncio.fixture
async def rollcall(doubled: Stack, gate: Gate) -> AsyncIterator[Rollcall]:
    client = Rollcall(doubled)
    yield client
    gate.heal()
    await client.close()


async def test_answers_lost_after_the_call_took_effect(
    rollcall: Rollcall, gate: Gate, board: Scoreboard
) -> None:
    for method in ("CreateRoom", "ListDispatch", "ListParticipants"):
        gate.spoil(method, "drop")
        started = await rollcall.start(agent_name="joiner")
        [session] = await take_census(rollcall, board, [started])
        assert session["status"] == "active", (method, session)


async def test_many_answers_lost_and_refused(rollcall: Rollcall, gate: Gate, board: Scoreboard) -> None:
    gate.spoil("CreateRoom", "drop", 503, "drop")
    gate.spoil("ListDispatch", "drop", 503)
    gate.spoil("ListParticipants", "drop", 429, 503)
    await take_census(rollcall, board, [await rollcall.start(agent_name="joiner") for _ in range(4)])


async def test_an_answer_lost_where_the_caller_has_made_the_room(
    rollcall: Rollcall, gate: Gate, board: Scoreboard
) -> None:
    gate.spoil("CreateDispatch", "drop")
    room = "there-first"
    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(api.CreateRoomRequest(name=room))
    started = await rollcall.start(agent_name="joiner", room_name=room)
    [session] = await take_census(rollcall, board, [started])
    assert session["status"] == "active"


async def test_a_dispatcher_killed_between_the_call_and_the_acknowledgement(
    rollcall: Rollcall, gate: Gate, board: Scoreboard
) -> None:
    gate.spoil("CreateRoom", "hold")
    started = await rollcall.start(agent_name="joiner")
    await asyncio.wait_for(gate.held("CreateRoom").arrived.wait(), 20)
    # LiveKit has the dispatch; nobody on our side knows.
    for name in ("dispatcher", "dispatcher-2"):
        rollcall.stack.process(name).kill(signal.SIGKILL)
    gate.heal()
    [session] = await take_census(rollcall, board, [started])
    assert (session["status"], session["attempt"]) == ("active", 1)


@pytest.mark.parametrize("slow", ["the call", "the answer"])
async def test_a_dispatcher_that_is_frozen_in_a_slow_call_leaves_one_dispatch_that_of_the_attempt(
    rollcall: Rollcall, gate: Gate, board: Scoreboard, slow: str
) -> None:
    first, second = (rollcall.stack.process(name) for name in ("dispatcher-2", "dispatcher"))
    room = f"slow-{slow.rsplit(maxsplit=1)[-1]}"
    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(api.CreateRoomRequest(name=room))
    gate.spoil("CreateDispatch", "delay" if slow == "the call" else "hold")
    await rollcall.freeze("dispatcher")
    try:
        started = await rollcall.start(agent_name="joiner", room_name=room)
        await asyncio.wait_for(gate.held("CreateDispatch").arrived.wait(), 30)
        await rollcall.freeze("dispatcher-2")
        second.thaw()
        await rollcall.until_status(started["session_id"], "active")
        gate.heal()
        first.thaw()

        async def has_lost() -> bool:
            told = [line for line in first.log().splitlines() if started["session_id"] in line]
            return any("outdated_dispatch_refused" in line or "dispatch_outdated" in line for line in told)

        await until(has_lost, what="the first dispatcher finds that it has lost its claim")
        await until(lambda: _one_dispatch(rollcall, room), what="one dispatch is left")
        await until(lambda: _alone(rollcall, room), what="one agent is left")
        [session] = await take_census(rollcall, board, [started])
        assert session["agents"] == [session["agent_identity"]]
    finally:
        first.thaw()
        second.thaw()


async def test_a_verifier_that_is_told_to_stop_gives_its_claims_back(
    rollcall: Rollcall, board: Scoreboard
) -> None:
    verifiers = {name: rollcall.stack.process(name) for name in ("verifier", "verifier-2")}
    started = await rollcall.start(agent_name="nobody-has-this-name")

    def times(name: str) -> int:
        lines = verifiers[name].log().splitlines()
        return sum("verification_started" in line and started["session_id"] in line for line in lines)

    async def taken() -> str | None:
        return next(filter(times, verifiers), None)

    name = await until(taken, what="a verifier has the session")
    other = next(one for one in verifiers if one != name)
    database = Database(rollcall.stack.database_url)
    before = sum(map(times, verifiers))
    verifiers[name].kill(signal.SIGTERM)
    assert await verifiers[name].wait_exit() == 0
    async with database.read() as db:
        row = await db.get_one(SessionRow, started["session_id"])
    await database.close()
    assert row.claimed_until is None or times(other), "another takes over at once"

    async def goes_on() -> bool:
        return sum(map(times, verifiers)) > before

    await until(goes_on, what="a verifier goes on with the session")
    await rollcall.end(started["session_id"])
    board.sessions += 1


async def test_a_careless_client_whose_token_dispatches_too(rollcall: Rollcall, board: Scoreboard) -> None:
    started = await rollcall.start(agent_name="joiner")
    await rollcall.until_status(started["session_id"], "active")
    async with rollcall.livekit() as livekit:
        await livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(room=started["room_name"], agent_name="joiner")
        )

    async def one_left() -> bool:
        removed = await rollcall.event_types(started["session_id"])
        agents = await rollcall.agents_in(started["room_name"])
        return removed.count("agent.extra_removed.v1") == 1 and len(agents) == 1

    await until(one_left, what="the second agent is removed, and counted")
    [session] = await take_census(rollcall, board, [started])
    assert session["agents"] == [session["agent_identity"]], "the first one stays"


async def test_a_careless_client_who_is_quicker_than_the_dispatch(
    rollcall: Rollcall, board: Scoreboard
) -> None:
    names = ("dispatcher", "dispatcher-2")
    dispatchers = [rollcall.stack.process(name) for name in names]
    await rollcall.freeze(*names)
    try:
        started = await rollcall.start(agent_name="joiner")
        own_token = _token_that_dispatches(rollcall.stack, started["room_name"])
        async with guest({**started, "participant_token": own_token}):
            for dispatcher in dispatchers:
                dispatcher.thaw()
            await rollcall.until_status(started["session_id"], "active")
            await until(lambda: _alone(rollcall, started["room_name"]), what="one agent of the two is left")
            await take_census(rollcall, board, [started])
    finally:
        for dispatcher in dispatchers:
            dispatcher.thaw()


async def test_a_burst_while_processes_are_killed_answers_lost_and_tasks_delivered_twice(
    rollcall: Rollcall, gate: Gate, board: Scoreboard, dice: random.Random, full: bool
) -> None:
    sender = TaskSender(make_celery("test", rollcall.stack.redis_url))
    started: list[dict[str, Any]] = []
    over = asyncio.Event()

    async def chaos() -> None:
        while not over.is_set():
            await asyncio.sleep(dice.uniform(0.3, 1.5))
            match dice.choice(["kill", "drop", "refuse", "redeliver"]):
                case "kill":
                    rollcall.stack.process(dice.choice(PROCESSES)).kill(signal.SIGKILL)
                case "drop":
                    gate.spoil(dice.choice(["CreateRoom", "CreateDispatch", "ListDispatch"]), "drop")
                case "refuse":
                    gate.spoil(dice.choice(["CreateRoom", "ListParticipants"]), dice.choice([503, 429]))
                case "redeliver":
                    ids = [one["session_id"] for one in started[-5:]]
                    await sender.send(dice.choice([DISPATCH_TASK, VERIFY_TASK]), ids * 2)

    wild = asyncio.create_task(chaos())
    try:
        for _ in range(200 if full else 30):
            started.append(await rollcall.start(agent_name="joiner"))
            await asyncio.sleep(dice.uniform(0, 0.3))
    finally:
        over.set()
        await wild
        gate.heal()
        sender.close()
    await take_census(rollcall, board, started)


async def _alone(rollcall: Rollcall, room_name: str) -> bool:
    return len(await rollcall.agents_in(room_name)) == 1


async def _one_dispatch(rollcall: Rollcall, room_name: str) -> bool:
    async with rollcall.livekit() as livekit:
        dispatches = await livekit.agent_dispatch.list_dispatch(room_name)
    return len([one for one in dispatches if SESSION_ATTRIBUTE in one.attributes]) == 1


def _token_that_dispatches(stack: Stack, room_name: str) -> str:
    token = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret).with_identity("careless")
    config = api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name="joiner")])
    grants = api.VideoGrants(room_join=True, room=room_name)
    return token.with_grants(grants).with_room_config(config).to_jwt()
