"""Rollcall collects what a crash leaves behind: rooms that nothing would close, and unknown dispatches."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from livekit import api

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.faults.conftest import CONTROL_PLANE
from tests.support.gate import Gate, open_gate
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.workers import foreign_worker

pytestmark = pytest.mark.faults


@pytest_asyncio.fixture
async def gate() -> AsyncIterator[Gate]:
    async with open_gate() as gate:
        yield gate


@pytest_asyncio.fixture
async def rollcall(gate: Gate, tmp_path: Path) -> AsyncIterator[Rollcall]:
    """A control plane of this test's own, behind the gate, with a joiner."""
    own_env = {"dispatcher": {"LIVEKIT_URL": gate.url}}
    state = tmp_path / "stack"
    async with (
        Stack(state, env=clean_environment(), services=CONTROL_PLANE, service_env=own_env) as stack,
        foreign_worker(stack, agent_name="joiner", log=tmp_path / "joiner.log"),
    ):
        gate.upstream = stack.livekit_url
        client = Rollcall(stack)
        yield client
        await client.close()


async def test_a_room_made_by_a_dispatcher_that_died_for_a_session_that_is_over_is_closed(
    rollcall: Rollcall, gate: Gate, board: Scoreboard
) -> None:
    gate.spoil("CreateRoom", "hold")
    started = await rollcall.start(agent_name="joiner")
    await gate.held("CreateRoom").arrived.wait()
    assert await rollcall.room_exists(started["room_name"])
    dispatcher = rollcall.stack.process("dispatcher")
    await rollcall.freeze("dispatcher")
    await rollcall.end(started["session_id"])
    dispatcher.kill(signal.SIGKILL)
    gate.heal()
    await rollcall.until_gone(started["room_name"])
    board.sessions += 1


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
