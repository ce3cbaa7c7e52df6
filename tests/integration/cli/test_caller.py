"""The synthetic caller, in a real room with a stand-in for an agent."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from livekit import api

from cli.call.caller import AgentSilent, Caller
from cli.call.voice import BYTES_PER_SECOND, read_wav, synthesise, write_wav
from devstack.servers import LiveKitServer
from tests.stack_fixtures.waiting import eventually


def _token(server: LiveKitServer, room: str, identity: str, *, agent: bool = False) -> str:
    token = api.AccessToken(server.api_key, server.api_secret).with_identity(identity)
    token = token.with_grants(api.VideoGrants(room_join=True, room=room, agent=agent))
    return (token.with_kind("agent") if agent else token).to_jwt()


@asynccontextmanager
async def _call(server: LiveKitServer) -> AsyncIterator[tuple[Caller, Caller]]:
    """A caller and an agent in one room; the agent has a caller's mouth and ears."""
    room = f"room-{uuid.uuid4().hex}"
    agent = Caller(server_url=server.url, token=_token(server, room, "agent-1", agent=True))
    caller = Caller(server_url=server.url, token=_token(server, room, "caller-1"))
    async with caller, agent:
        yield caller, agent


async def test_the_caller_hears_the_agent_out(livekit_server: LiveKitServer) -> None:
    async with _call(livekit_server) as (caller, agent):
        await eventually(lambda: bool(caller.agents) and caller.heard_seconds > 0)
        speech = await synthesise("Hello, how can I help you today?")
        await agent.say(speech)
        waited = await caller.wait_until_agent_quiet()
        assert waited < 30
        # All of the audio, and then the silence that shows its end.
        assert caller.heard_seconds > len(speech) / BYTES_PER_SECOND
        assert caller.connected
    assert not caller.connected


async def test_what_was_heard_before_the_caller_spoke_is_no_answer(livekit_server: LiveKitServer) -> None:
    async with _call(livekit_server) as (caller, agent):
        await eventually(lambda: caller.heard_seconds > 0)
        await agent.say("Hello.")
        await caller.wait_until_agent_quiet()
        await caller.say("What time is it?")
        with pytest.raises(AgentSilent, match="was not heard"):
            await caller.wait_until_agent_quiet(0.5)
        await agent.say("It is noon.")
        await caller.wait_until_agent_quiet()


async def test_without_an_agent_the_caller_gives_up(livekit_server: LiveKitServer) -> None:
    token = _token(livekit_server, f"room-{uuid.uuid4().hex}", "caller-1")
    async with Caller(server_url=livekit_server.url, token=token) as caller:
        with pytest.raises(AgentSilent, match="its state: None"):
            await caller.wait_until_agent_quiet(0.2)
    await caller.leave()  # a second time changes nothing


async def test_speech_is_the_same_every_time_and_survives_a_file(tmp_path: Path) -> None:
    pcm = await synthesise("Seven plus five.")
    assert pcm == await synthesise("Seven plus five.")
    write_wav(tmp_path / "speech.wav", pcm)
    assert read_wav((tmp_path / "speech.wav").read_bytes()) == pcm
    assert 0.5 < len(pcm) / BYTES_PER_SECOND < 5
