"""A worker that reaches the API alone: what breaks between them costs no call and no turn."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import pytest_asyncio

from devstack.stack import Stack
from services.verifier.ways import RETURN_S
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until
from tests.support.typed import texts, type_until_heard, typed
from tests.support.wire import Wire
from tests.support.workers import OurWorker, own_worker

pytestmark = pytest.mark.faults

NAME = "remote"
QUESTION = "What are your opening hours?"
# Much longer than the silence of a job that is taken for dead (AGENT_SILENCE_S, 2.5 s).
OUTAGE_S = 6.0


@pytest_asyncio.fixture
async def rollcall(agent_stack: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(agent_stack)
    yield client
    await client.close()


@pytest_asyncio.fixture(scope="module")
async def wire(agent_stack: Stack) -> AsyncIterator[Wire]:
    """The network between the worker and the API."""
    port = urlsplit(agent_stack.api_url).port
    assert port is not None
    opened = Wire(port)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module")
async def worker(
    agent_stack: Stack, wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OurWorker]:
    """A user's worker at the other end of the wire, without Redis."""
    client = Rollcall(agent_stack)
    log = tmp_path_factory.mktemp("remote") / "worker.log"
    env = {"REDIS_URL": "", "ROLLCALL_URL": f"http://127.0.0.1:{wire.port}"}
    try:
        async with own_worker(client, agent_name=NAME, log=log, env=env) as running:
            await client.end((await client.start_served(agent_name=NAME))["session_id"])
            yield running
    finally:
        await client.close()


async def test_an_agent_stays_while_the_network_to_the_api_is_broken_and_its_turns_come_later(
    rollcall: Rollcall, wire: Wire, worker: OurWorker
) -> None:
    started = await _ready(rollcall)
    async with guest(started) as room:
        await type_until_heard(rollcall, started["session_id"], room, "My name is Anna.")
        wire.cut()
        try:
            await typed(room, QUESTION)
            await asyncio.sleep(OUTAGE_S)  # nothing may happen in this time
        finally:
            await wire.drop()
            wire.mend()
        await _stored(rollcall, started, QUESTION)
        await asyncio.sleep(RETURN_S)  # a loss that was wrongly seen would be judged by then
        await _is_the_first_agents(rollcall, started)
        await rollcall.end(started["session_id"])


async def test_an_agent_stays_while_the_api_restarts(
    rollcall: Rollcall, agent_stack: Stack, worker: OurWorker
) -> None:
    started = await _ready(rollcall)
    async with guest(started) as room:
        await type_until_heard(rollcall, started["session_id"], room, "My name is Anna.")
        api = agent_stack.process("api")
        api.kill_group()
        await api.wait_exit()
        await typed(room, QUESTION)
        await asyncio.sleep(OUTAGE_S)
        await api.start()
        await _stored(rollcall, started, QUESTION)
        await asyncio.sleep(RETURN_S)
        await _is_the_first_agents(rollcall, started)
        await rollcall.end(started["session_id"])


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_job_that_dies_or_hangs_while_its_worker_is_heard_is_replaced(
    rollcall: Rollcall, worker: OurWorker, harm: signal.Signals
) -> None:
    started = await _ready(rollcall)
    async with guest(started):
        await _way_is_judged()
        harmed = worker.job_processes()
        assert worker.send_to_jobs(harm) == 1
        try:
            session = await _second_attempt(rollcall, started)
        finally:
            for process in harmed:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
        [lost] = [e for e in await rollcall.events(started["session_id"]) if e["type"] == "agent.lost.v1"]
        assert lost["data"]["cause"] == "worker_died"
        await rollcall.end(started["session_id"])


async def test_a_job_that_dies_while_nobody_hears_its_worker_is_found_afterwards(
    rollcall: Rollcall, wire: Wire, worker: OurWorker
) -> None:
    async def dead() -> bool:
        return not worker.job_processes()

    started = await _ready(rollcall)
    async with guest(started):
        wire.cut()
        try:
            assert worker.send_to_jobs(signal.SIGKILL) == 1
            await until(dead, what="the job is dead while the way is broken")
        finally:
            await wire.drop()
            wire.mend()
        session = await _second_attempt(rollcall, started)
        assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
        await rollcall.end(started["session_id"])


async def _ready(rollcall: Rollcall) -> dict[str, Any]:
    started = await rollcall.start(agent_name=NAME)
    await rollcall.until_event(started["session_id"], "agent.ready.v1")
    return started


async def _way_is_judged() -> None:
    """Let the worker be heard for long enough that its jobs' silence counts."""
    await asyncio.sleep(RETURN_S)


async def _stored(rollcall: Rollcall, started: dict[str, Any], text: str) -> None:
    async def stored() -> bool:
        return (await texts(rollcall, started["session_id"], "user")).count(text) == 1

    await until(stored, what=f"{text!r} is stored")


async def _is_the_first_agents(rollcall: Rollcall, started: dict[str, Any]) -> None:
    session = await rollcall.session(started["session_id"])
    assert (session["status"], session["attempt"]) == ("active", 1)
    assert "agent.lost.v1" not in await rollcall.event_types(started["session_id"])


async def _second_attempt(rollcall: Rollcall, started: dict[str, Any]) -> dict[str, Any]:
    async def replaced() -> dict[str, Any] | None:
        session = await rollcall.session(started["session_id"])
        return session if session["status"] == "active" and session["attempt"] == 2 else None

    found: dict[str, Any] = await until(replaced, what="another agent is in the room")
    return found
