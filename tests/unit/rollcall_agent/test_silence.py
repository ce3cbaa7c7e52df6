"""The first words that the user's code says by itself are kept back where they are out of place."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.llm import ChatChunk, ChoiceDelta
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.utils import http_context

from rollcall_agent.job import silence
from rollcall_agent.job.silence import Silence


class Parrot(llm.LLM[Any]):
    """A model that says which message it answers."""

    def chat(self, *, chat_ctx: llm.ChatContext, tools: Any = None, **_: Any) -> llm.LLMStream:
        return _Said(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=DEFAULT_API_CONNECT_OPTIONS)


class _Said(llm.LLMStream):
    async def _run(self) -> None:
        heard = [item.text_content for item in self._chat_ctx.messages() if item.role == "user"]
        text = f"to {heard[-1]}" if heard else "hello"
        self._event_ch.send_nowait(ChatChunk(id="1", delta=ChoiceDelta(role="assistant", content=text)))


@pytest.fixture(autouse=True)
async def _http() -> AsyncIterator[None]:
    async with http_context.open():
        yield


def _said(session: AgentSession[None]) -> list[str | None]:
    return [item.text_content for item in session.history.messages() if item.role == "assistant"]


async def test_an_agent_that_takes_over_answers_the_last_words_and_does_not_greet() -> None:
    past = llm.ChatContext.empty()
    past.add_message(role="user", content="old words")
    async with AgentSession(llm=Parrot()) as session:
        guard = Silence(session, always=False)
        await session.start(Agent(instructions="Be brief.", chat_ctx=past))
        guard.started(reply=True)
        greeting = session.generate_reply(instructions="Greet the caller.")
        assert await asyncio.wait_for(greeting, 10) is greeting, "whoever waits for the greeting goes on"
        await session.generate_reply(user_input="new words")
        await session.generate_reply()
        assert _said(session) == ["to old words", "to new words", "to new words"]


async def test_what_the_code_says_later_is_no_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "GREETING_S", 0.0)
    async with AgentSession(llm=Parrot()) as session:
        guard = Silence(session, always=False)
        await session.start(Agent(instructions="Be brief."))
        await session.generate_reply()
        assert _said(session) == []
        guard.started(reply=False)
        async with asyncio.timeout(10):
            while not _said(session):
                await asyncio.sleep(0.01)  # what is held back is done at once, and lets nothing else run
                await session.generate_reply()
        assert _said(session) == ["hello"]


async def test_the_agent_of_a_canary_never_speaks_by_itself() -> None:
    async with AgentSession(llm=Parrot()) as session:
        guard = Silence(session, always=True)
        await session.start(Agent(instructions="Be brief."))
        guard.started(reply=True)
        await session.generate_reply()
        assert _said(session) == []
