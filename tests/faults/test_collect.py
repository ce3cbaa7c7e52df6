"""Rollcall collects what a crash leaves behind: rooms that nothing would close, and unknown dispatches."""

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from livekit import api

from devstack.stack import Stack
from tests.support.gate import Gate
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall

pytestmark = pytest.mark.faults


DISPATCHERS = ("dispatcher", "dispatcher-2")


@pytest_asyncio.fixture
async def rollcall(doubled: Stack, gate: Gate) -> AsyncIterator[Rollcall]:
    client = Rollcall(doubled)
    yield client
    gate.heal()
    await client.close()


async def test_a_room_that_a_late_agent_makes_anew_is_closed(
    rollcall: Rollcall, board: Scoreboard, full: bool
) -> None:
    started = await rollcall.start(agent_name="joiner")
    await rollcall.until_status(started["session_id"], "active")
    await rollcall.end(started["session_id"])
    await rollcall.until_gone(started["room_name"])
    if full:  # the closer looks twice; after that, the collector looks once a minute
        await rollcall.until_cleared(started["session_id"])
    anew = api.CreateRoomRequest(
        name=started["room_name"], agents=[api.RoomAgentDispatch(agent_name="joiner")]
    )
    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(anew)
    await rollcall.until_gone(started["room_name"], timeout_s=120)
    board.sessions += 1


async def test_a_room_made_by_a_dispatcher_that_died_for_a_session_that_is_over_is_closed(
    rollcall: Rollcall, gate: Gate, board: Scoreboard
) -> None:
    gate.spoil("CreateRoom", "hold")
    started = await rollcall.start(agent_name="joiner")
    await gate.held("CreateRoom").arrived.wait()
    assert await rollcall.room_exists(started["room_name"])
    await rollcall.freeze(*DISPATCHERS)
    await rollcall.end(started["session_id"])
    for name in DISPATCHERS:
        rollcall.stack.process(name).kill(signal.SIGKILL)
    gate.heal()
    await rollcall.until_gone(started["room_name"])
    board.sessions += 1
