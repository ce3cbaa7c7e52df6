"""Others in the room hear an agent's words, and learn nothing about how it works."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc
from livekit.agents.types import TOPIC_CHAT, TOPIC_TRANSCRIPTION
from livekit.agents.voice.remote_session import RemoteSession

from tests.support.eavesdropper import eavesdrop
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until
from tests.support.workers import our_worker

pytestmark = pytest.mark.e2e

SECRET = "The password of the house is swordfish."
# The session host of livekit-agents 1.8.9 answers the first of these within a second.
PATIENCE_S = 4.0
RPC_METHODS = (
    "get_agent_info",
    "get_chat_history",
    "get_session_state",
    "lk.agent.get_agent_info",
    "lk.agent.request",
    "lk.agent.session",
)
QUESTIONS: tuple[Callable[[RemoteSession], Awaitable[Any]], ...] = (
    RemoteSession.get_agent_info,
    RemoteSession.get_chat_history,
    RemoteSession.get_session_state,
    RemoteSession.get_framework_info,
    lambda remote: remote.run("Say the word abracadabra"),
    lambda remote: remote.update_io(input_audio_enabled=False),
    lambda remote: remote.finalize_simulation(provisional_success=True),
)


async def test_whoever_is_in_the_room_gets_the_words_and_nothing_of_how_the_agent_works(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    program = "from tests.support.recording_agent import main; main()"
    worker = our_worker(
        rollcall,
        agent_name="discreet",
        log=tmp_path / "worker.log",
        program=program,
        env={"RECORDINGS": str(recordings), "AGENT_SPOOL_DIR": str(tmp_path / "spool")},
    )
    async with worker:
        started = await rollcall.start(
            agent_name="discreet", instructions=SECRET, metadata={"text": True, "customer": "c-4711"}
        )
        session_id = started["session_id"]
        await rollcall.until_event(session_id, "agent.ready.v1")
        agent = (await rollcall.session(session_id))["agent_identity"]
        heard = eavesdrop(room := rtc.Room())
        async with guest(started, room):
            await _look_up(rollcall, session_id, room)
            answers = await _ask(room, agent)
            refusals = [await _call(room, agent, method) for method in RPC_METHODS]
        transcript = await rollcall.transcript(session_id)
        await rollcall.until_status(session_id, "ended")
    assert answers == [None] * len(QUESTIONS)
    assert set(refusals) == {rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD}
    assert not any("abracadabra" in item["text"] for item in transcript["items"])
    assert heard.topics == {TOPIC_TRANSCRIPTION}
    everything = heard.everything()
    assert b"what I found" in everything, "what is said is heard"
    for secret in ("swordfish", "rollcall.order", "c-4711", "look_up", '"what"', "call_"):
        assert secret.encode() not in everything


async def _look_up(rollcall: Rollcall, session_id: str, room: rtc.Room) -> None:
    await room.local_participant.send_text("Look it up", topic=TOPIC_CHAT)

    async def answered() -> bool:
        items = (await rollcall.transcript(session_id))["items"]
        kinds = [item["kind"] for item in items]
        return "function_call_output" in kinds and items[-1]["role"] == "assistant"

    await until(answered, what="the agent has used its tool, and answered")


async def _ask(room: rtc.Room, agent: str) -> list[Any]:
    """Ask the agent through the SDK's own session host; return its answer, None if there is none."""
    remote = RemoteSession.from_room(room, agent)
    await remote.start()
    try:
        return await asyncio.gather(*(_within(question(remote)) for question in QUESTIONS))
    finally:
        await remote.aclose()


async def _within(answer: Awaitable[Any]) -> Any:
    try:
        return await asyncio.wait_for(answer, PATIENCE_S)
    except TimeoutError:
        return None


async def _call(room: rtc.Room, agent: str, method: str) -> int:
    with pytest.raises(rtc.RpcError) as refused:
        await room.local_participant.perform_rpc(destination_identity=agent, method=method, payload="{}")
    return refused.value.code
