"""An agent of a user's own with the two lines of `rollcall_agent` has what the built-in agent has."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from livekit import api, rtc
from livekit.agents.voice.remote_session import RemoteSession

from devstack.stack import Stack
from services.inference.converse import GREETING, HOURS
from tests.support.event_streams import following
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until
from tests.support.typed import texts, type_until_heard, typed
from tests.support.workers import OWN_AGENT, OurWorker, foreign_worker, own_worker, until_in_registry

pytestmark = pytest.mark.e2e

NAME = "own"
# The session host of livekit-agents 1.8.9 answers within a second, where it is open.
UNANSWERED_S = 4.0


@pytest_asyncio.fixture(scope="module", params=["redis", "api"])
async def worker(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OurWorker]:
    """The user's worker: `python own_agent.py start`, where it reaches Rollcall's Redis, or the API alone."""
    client = Rollcall(stack)
    log = tmp_path_factory.mktemp("own") / "worker.log"
    env = {"REDIS_URL": "", "ROLLCALL_URL": stack.api_url} if request.param == "api" else {}
    try:
        async with own_worker(client, agent_name=NAME, log=log, env=env) as running:
            yield running
    finally:
        await client.close()


async def _asked(rollcall: Rollcall, session_id: str, room: rtc.Room, text: str, answer: str) -> None:
    """Write to the agent until it has heard, and wait for its answer."""

    async def answered() -> bool:
        return answer in await texts(rollcall, session_id, "assistant")

    await type_until_heard(rollcall, session_id, room, text)
    await until(answered, what=f"{answer!r} is said")


async def _ready(rollcall: Rollcall, **wish: Any) -> dict[str, Any]:
    started = await rollcall.start(agent_name=NAME, **wish)
    await rollcall.until_event(started["session_id"], "agent.ready.v1")
    return started


async def test_every_turn_tool_note_and_handoff_is_stored(rollcall: Rollcall, worker: OurWorker) -> None:
    started = await _ready(rollcall, metadata={"customer": "42"})
    session_id = started["session_id"]
    async with guest(started) as room:
        await _asked(
            rollcall,
            session_id,
            room,
            "What is the weather in Paris?",
            "Here is what I found: sunny in Paris.",
        )
        await typed(room, "I have a question about billing.")

        async def handed_over() -> bool:
            items = (await rollcall.transcript(session_id))["items"]
            return any(item["kind"] == "agent_handoff" for item in items)

        await until(handed_over, what="the handoff is stored")
    ended = await rollcall.until_status(session_id, "ended")
    transcript = await rollcall.transcript(session_id)
    by_kind = {item["kind"]: item for item in transcript["items"]}
    assert transcript["items"][0]["text"] == GREETING
    assert by_kind["note"]["text"] == '{"location": "Paris"}'
    assert by_kind["note"]["extra"] == {"name": "weather_asked"}
    tools = [item["text"] for item in transcript["items"] if item["role"] == "tool"]
    assert tools[:2] == ['lookup_weather({"location": "Paris"})', "sunny in Paris"]
    assert tools[2].startswith("transfer_to_billing(")
    assert by_kind["agent_handoff"]["text"] == "reception -> billing"
    assert transcript["complete"] is True
    assert ended["agent_identity"].startswith("agent-AJ_")
    types = await rollcall.event_types(session_id)
    assert "agent.joined.v1" in types
    assert "agent.missing.v1" not in types


async def test_followers_see_what_the_agent_says_as_it_says_it(
    rollcall: Rollcall, stack: Stack, worker: OurWorker
) -> None:
    started = await _ready(rollcall)
    session_id = started["session_id"]
    client = httpx.AsyncClient(base_url=stack.api_url, timeout=30)
    async with client, following(client, session_id) as live, guest(started) as room:
        await _asked(rollcall, session_id, room, "What are your opening hours?", HOURS)
        await live.until(lambda stream: any(e.text == HOURS for e in stream.captions))
    said = {e.data["data"]["role"] for e in live.captions}
    assert said == {"assistant"}, "who writes is not heard"
    await rollcall.until_status(session_id, "ended")


async def test_nobody_in_the_room_can_ask_the_agent_how_it_works(
    rollcall: Rollcall, worker: OurWorker
) -> None:
    started = await _ready(rollcall)
    agent = (await rollcall.session(started["session_id"]))["agent_identity"]
    async with guest(started) as room:
        remote = RemoteSession.from_room(room, agent)
        await remote.start()
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(remote.get_agent_info(), UNANSWERED_S)
        finally:
            await remote.aclose()
    await rollcall.until_status(started["session_id"], "ended")


async def test_a_file_without_the_two_lines_runs_through_the_library(
    rollcall: Rollcall, stack: Stack, tmp_path: Path
) -> None:
    log, name = tmp_path / "worker.log", "through-the-library"
    worker = foreign_worker(stack, agent_name=name, log=log, through=("-m", "rollcall_agent"))
    async with worker as process:
        await until_in_registry(rollcall, process, log)
        started = await rollcall.start(agent_name=name)
        session = await rollcall.until_status(started["session_id"], "active")
        assert session["attempts"][-1]["worker_id"] in {
            one["worker_id"]
            for one in (await rollcall.get("/v1/workers"))["workers"]
            if one["agent_name"] == name
        }
        await rollcall.end(started["session_id"])


async def test_an_entrypoint_that_raises_is_told_with_its_exception(
    rollcall: Rollcall, worker: OurWorker
) -> None:
    started = await rollcall.start(agent_name=NAME, metadata={"fault": "raise"})
    failed = await rollcall.until_status(started["session_id"], "failed")
    assert failed["failure"]["cause"] == "entrypoint_failed"
    evidence = failed["failure"]["evidence"]
    assert (evidence["type"], evidence["message"]) == ("LookupError", "no such customer: 4711")


async def test_an_agent_says_itself_why_it_cant_work(rollcall: Rollcall, worker: OurWorker) -> None:
    started = await rollcall.start(agent_name=NAME, metadata={"fault": "fail"})
    failed = await rollcall.until_status(started["session_id"], "failed")
    evidence = failed["failure"]["evidence"]
    assert evidence["type"] == "customer_unknown"
    assert evidence["message"] == "The customer 4711 is not in the database."


async def test_an_agent_that_is_done_ends_its_session_for_a_reason_of_its_own(
    rollcall: Rollcall, worker: OurWorker
) -> None:
    started = await rollcall.start(agent_name=NAME, metadata={"fault": "done"})
    ended = await rollcall.until_status(started["session_id"], "ended")
    assert ended["end_reason"] == "order_taken"
    [attempt] = ended["attempts"]
    assert (attempt["error"]["type"], attempt["error"]["recoverable"]) == ("printer_slow", True)


async def test_a_killed_agent_is_replaced_by_one_that_remembers_and_does_not_greet(
    rollcall: Rollcall, worker: OurWorker
) -> None:
    started = await _ready(rollcall)
    session_id = started["session_id"]
    async with guest(started) as room:
        await _asked(
            rollcall, session_id, room, "My name is Anna.", "Nice to meet you, Anna. What can I do for you?"
        )
        assert worker.send_to_jobs(signal.SIGKILL) == 1

        async def replaced() -> bool:
            session = await rollcall.session(session_id)
            return bool(session["status"] == "active" and session["attempt"] == 2)

        await until(replaced, what="another agent is in the room")
        await _asked(rollcall, session_id, room, "What is my name?", "Your name is Anna.")
        said = await texts(rollcall, session_id, "assistant")
    assert said.count(GREETING) == 1
    await rollcall.until_status(session_id, "ended")


async def test_the_agent_of_a_canary_says_nothing(rollcall: Rollcall, worker: OurWorker) -> None:
    started = await rollcall.start(agent_name=NAME, canary=True)
    await rollcall.until_status(started["session_id"], "ended")
    assert (await rollcall.transcript(started["session_id"]))["items"] == []


async def test_a_job_that_somebody_else_dispatched_runs_as_ever(
    rollcall: Rollcall, worker: OurWorker
) -> None:
    room_name = "not-of-rollcall"
    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(api.CreateRoomRequest(name=room_name))
        request = api.CreateAgentDispatchRequest(agent_name=NAME, room=room_name)
        await livekit.agent_dispatch.create_dispatch(request)
    await _agent_is_in(rollcall, room_name)


async def test_without_rollcall_the_agent_runs_on_its_own(
    rollcall: Rollcall, stack: Stack, tmp_path: Path
) -> None:
    log, name, room_name = tmp_path / "worker.log", "own-alone", "room-without-rollcall"
    env = {"OWN_AGENT_NAME": name, "REDIS_URL": ""}
    async with foreign_worker(stack, agent_name=name, log=log, program=OWN_AGENT, env=env):
        async with rollcall.livekit() as livekit:
            await livekit.room.create_room(api.CreateRoomRequest(name=room_name))
            request = api.CreateAgentDispatchRequest(agent_name=name, room=room_name)
            await livekit.agent_dispatch.create_dispatch(request)
        await _agent_is_in(rollcall, room_name)
    assert "set ROLLCALL_URL to the address of Rollcall" in log.read_text()


async def _agent_is_in(rollcall: Rollcall, room_name: str) -> None:
    async def has_agent() -> bool:
        return bool(await rollcall.agents_in(room_name))

    await until(has_agent, what="the agent is in the room")
