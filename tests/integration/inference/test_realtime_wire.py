"""The unmodified client of livekit-agents talks with the realtime route; only the engines are fakes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import function_tool, llm, utils
from livekit.agents.inference.realtime import RealtimeModel
from livekit.agents.llm import RealtimeSession

from services.inference.converse import reply
from services.inference.ports import Audio, Message, Samples, ToolCall, Tools, Transcript
from services.inference.realtime import Engines, Realtime
from services.inference.use_tools import use_tools
from tests.stack_fixtures.waiting import eventually

RATE = 24_000
TENTH = RATE // 10  # samples of 100 ms
LIMIT_S = 60
QUESTION = "What is the weather in Paris?"


class Ear:
    """Understands everything as the same question."""

    ready = idle = True

    async def transcribe(self, speech: Samples, *, quickly: bool = False) -> Transcript:
        return Transcript(text=QUESTION, confidence=0.9)


class Voice:
    """A second of something for each text."""

    async def speak(self, text: str, *, voice: str | None) -> Audio:
        return Audio(pcm=b"\0\1" * 16_000, sample_rate=16_000)


class Detector:
    """Takes what is loud for speech."""

    def probability(self, window: Samples) -> float:
        return 0.9 if float(np.abs(window).mean()) > 0.01 else 0.0


def converse(messages: Any, tools: Tools) -> str | ToolCall:
    assert all(isinstance(message, Message) for message in messages)
    return use_tools(messages, tools) or reply(messages, now=datetime.now(UTC))


class Heard:
    """What the client makes of the server's frames."""

    def __init__(self, session: RealtimeSession[Any]) -> None:
        self.said: list[tuple[str, float]] = []
        self.calls: list[llm.FunctionCall] = []
        self.words: list[str] = []
        self.errors: list[Any] = []
        self._reading: list[asyncio.Task[None]] = []
        session.on("generation_created", self._on_generation)
        session.on("input_audio_transcription_completed", lambda event: self.words.append(event.transcript))
        session.on("error", self.errors.append)

    def _on_generation(self, generation: llm.GenerationCreatedEvent) -> None:
        self._reading.append(asyncio.ensure_future(self._read(generation)))

    async def _read(self, generation: llm.GenerationCreatedEvent) -> None:
        async for message in generation.message_stream:
            text = "".join([str(piece) async for piece in message.text_stream])
            self.said.append((text, sum([frame.duration async for frame in message.audio_stream])))
        async for call in generation.function_stream:
            self.calls.append(call)

    async def until(self, *, generations: int) -> None:
        await eventually(
            lambda: len(self._reading) >= generations and all(task.done() for task in self._reading)
        )


@asynccontextmanager
async def connected() -> AsyncIterator[RealtimeSession[Any]]:
    engines = Engines(
        transcriber=Ear(), new_detector=Detector, silence_s=0.3, converse=converse, synthesizer=Voice()
    )
    app = web.Application()
    app.router.add_get("/v1/realtime", Realtime(engines).handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model = RealtimeModel(
        "openai/gpt-realtime",
        base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
        api_key="devkey",
        api_secret="a-secret-of-thirty-two-characters",
    )
    async with utils.http_context.open():
        session: Any = model.session()
        try:
            yield session
        finally:
            await session.aclose()
            await runner.cleanup()


def spoken(session: RealtimeSession[Any]) -> None:
    """A second of noise, then one of silence."""
    noise = (np.random.default_rng(1).standard_normal(RATE) * 8000).astype("<i2").tobytes()
    for pcm in (noise, bytes(2 * RATE)):
        for start in range(0, len(pcm), 2 * TENTH):
            session.push_audio(rtc.AudioFrame(pcm[start : start + 2 * TENTH], RATE, 1, TENTH))


@function_tool
async def lookup_weather(location: str) -> str:
    """Look up the weather."""
    return location


async def test_speech_is_answered_by_speech_with_a_tool_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected() as session:
        heard = Heard(session)
        await session.update_tools([lookup_weather])
        past = llm.ChatContext()
        past.add_message(role="user", content="My name is Anna.")
        past.add_message(role="assistant", content="Nice to meet you, Anna.")
        await session.update_chat_ctx(past)
        await session.generate_reply(instructions="Greet the caller.")
        await heard.until(generations=1)
        assert [(text, round(seconds, 1)) for text, seconds in heard.said] == [
            ("I'm here, Anna. What can I do for you?", 1.0)
        ]

        spoken(session)
        await heard.until(generations=2)
        assert heard.words == [QUESTION]
        [call] = heard.calls
        assert (call.name, call.arguments) == ("lookup_weather", '{"location": "Paris"}')

        context = session.chat_ctx.copy()
        context.items.append(
            llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output="sunny", is_error=False)
        )
        await session.update_chat_ctx(context)
        await session.generate_reply()
        await heard.until(generations=3)
        assert heard.said[-1][0] == "Here is what I found: sunny."
        kinds = [item.type for item in session.chat_ctx.items]
    assert kinds == [
        *("message", "message", "message", "message"),
        *("function_call", "function_call_output", "message"),
    ]
    assert heard.errors == []
    assert "failed to handle event" not in caplog.text


async def test_a_frame_that_makes_no_sense_is_refused_and_the_conversation_goes_on() -> None:
    async with connected() as session:
        heard = Heard(session)
        refused = asyncio.Event()
        session.on("error", lambda _: refused.set())
        session.send_event({"type": "conversation.item.create", "item": "nothing"})  # type: ignore[attr-defined]
        async with asyncio.timeout(LIMIT_S):
            await refused.wait()
        await session.generate_reply()
        await heard.until(generations=1)
        assert heard.said
