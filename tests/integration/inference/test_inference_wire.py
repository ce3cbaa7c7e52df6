"""The unmodified livekit-agents client talks with the real inference process."""

import asyncio
import base64
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectOptions,
    APIError,
    APIStatusError,
    function_tool,
    inference,
    llm,
    stt,
    utils,
)
from livekit.agents.inference._utils import create_access_token
from livekit.agents.voice.run_result import RunResult

ROOT = Path(__file__).parents[3]
KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
ONCE = APIConnectOptions(max_retry=0, timeout=10)

SENTENCES = [
    "I would like to book an appointment.",
    "On Tuesday at three in the afternoon, please.",
    "What are your opening hours?",
    "My name is Anna.",
    "Can you tell me what time it is?",
    "The quick brown fox jumps over the lazy dog.",
    "Please repeat what you said.",
    "Thank you very much, goodbye.",
]


@dataclass(frozen=True)
class Server:
    """A running inference process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, Any]:
        return {"base_url": f"{self.origin}/v1", "api_key": KEY, "api_secret": SECRET}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(folder: Path, **environment: str) -> Iterator[Server]:
    port, log = _free_port(), folder / "inference.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.inference"],
            cwd=folder,  # no .env of the checkout
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "LIVEKIT_API_KEY": KEY,
                "LIVEKIT_API_SECRET": SECRET,
                "INFERENCE_PORT": str(port),
                "LOG_FORMAT": "json",
                **environment,
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, port, log)
    finally:
        process.kill()
        process.wait()


async def _until_ready(server: Server) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            assert server.process.poll() is None, server.log.read_text()
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(f"{server.origin}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    with _running(tmp_path_factory.mktemp("inference")) as running:
        await _until_ready(running)
        yield running


@pytest.fixture(autouse=True)
async def _http_context() -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield


@contextlib.asynccontextmanager
async def _closing(thing: Any) -> AsyncIterator[Any]:
    try:
        yield thing
    finally:
        await thing.aclose()


async def _spoken(tts: inference.TTS, text: str) -> rtc.AudioFrame:
    stream = tts.stream(conn_options=ONCE)
    stream.push_text(text)
    stream.end_input()
    async with stream:
        return utils.combine_frames([event.frame async for event in stream])


def _tts(server: Server, model: str = "cartesia/sonic-3", **options: Any) -> inference.TTS:
    return inference.TTS(model, **server.credentials, **options)


def _stt(server: Server, model: str = "deepgram/nova-3", **options: Any) -> inference.STT:
    return inference.STT(model, **server.credentials, **options)


def _words(text: str) -> list[str]:
    numbers = {"3": "three", "p.m.": "in the afternoon", "pm": "in the afternoon"}
    spelled = " ".join(numbers.get(word, word) for word in text.lower().split())
    return re.findall(r"[a-z0-9']+", spelled)


def _edits(expected: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        row, above = [i], row
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1]


async def _push(stream: stt.SpeechStream, audio: rtc.AudioFrame, *, silence_s: float) -> None:
    rate = audio.sample_rate
    pcm = bytes(rate // 5 * 2) + bytes(audio.data) + bytes(2 * int(rate * silence_s))
    step = rate // 10 * 2
    for start in range(0, len(pcm), step):
        piece = pcm[start : start + step]
        stream.push_frame(rtc.AudioFrame(piece, rate, 1, len(piece) // 2))
        await asyncio.sleep(0.03)  # three times as fast as speech


async def _next_final(stream: stt.SpeechStream, seen: list[stt.SpeechEvent]) -> stt.SpeechData:
    async with asyncio.timeout(30):
        async for event in stream:
            seen.append(event)
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                return event.alternatives[0]
    raise AssertionError("the stream ended without a transcript")


@pytest.mark.parametrize("sample_rate", [16_000, 24_000, 48_000])
async def test_what_is_spoken_is_heard(server: Server, sample_rate: int) -> None:
    wrong = total = 0
    async with (
        _closing(_tts(server, sample_rate=sample_rate)) as tts,
        _closing(_stt(server, sample_rate=sample_rate)) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        for sentence in SENTENCES:
            audio = await _spoken(tts, sentence)
            assert audio.sample_rate == sample_rate
            assert 0.5 < audio.duration < 6
            seen: list[stt.SpeechEvent] = []
            pushing = asyncio.create_task(_push(stream, audio, silence_s=0.6))
            final = await _next_final(stream, seen)
            await pushing
            kinds = [event.type for event in seen]
            assert kinds.count(stt.SpeechEventType.START_OF_SPEECH) == 1
            interim = stt.SpeechEventType.INTERIM_TRANSCRIPT
            if interim in kinds:  # none comes after the final one of the sentence before
                assert kinds.index(stt.SpeechEventType.START_OF_SPEECH) < kinds.index(interim)
            assert 0 < final.confidence <= 1
            assert final.end_time - final.start_time == pytest.approx(audio.duration, abs=0.7)
            wrong += _edits(_words(sentence), _words(final.text))
            total += len(_words(sentence))
    assert wrong / total <= 0.2


async def test_long_speech_is_understood_in_part_before_it_ends(server: Server) -> None:
    async with (
        _closing(_tts(server, sample_rate=16_000)) as tts,
        _closing(_stt(server)) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        audio = await _spoken(tts, "The quick brown fox jumps over the lazy dog.")
        understood = asyncio.Event()

        async def talk() -> None:
            # Somebody who does not stop to breathe; after twenty seconds he would be cut short.
            for _ in range(6):
                for start in range(0, len(audio.data), 1600):
                    piece = bytes(audio.data[start : start + 1600])
                    stream.push_frame(rtc.AudioFrame(piece, 16_000, 1, len(piece) // 2))
                    await asyncio.sleep(0.1)
                if understood.is_set():
                    return

        kinds = []
        talking = asyncio.create_task(talk())
        async with asyncio.timeout(60):
            async for event in stream:
                kinds.append(event.type)
                if event.type is stt.SpeechEventType.INTERIM_TRANSCRIPT:
                    assert event.alternatives[0].text
                    if not understood.is_set():
                        understood.set()
                        await talking
                        stream.flush()
                        stream.end_input()
        assert kinds[0] is stt.SpeechEventType.START_OF_SPEECH
        assert stt.SpeechEventType.FINAL_TRANSCRIPT in kinds


async def test_finalize_gives_the_transcript_without_waiting_for_silence(server: Server) -> None:
    async with (
        _closing(_tts(server, sample_rate=16_000)) as tts,
        _closing(_stt(server, language="en")) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        audio = await _spoken(tts, "My name is Anna.")
        await _push(stream, audio, silence_s=0)
        stream.end_input()
        final = await _next_final(stream, [])
        assert "Anna" in final.text


async def test_noise_and_silence_are_not_speech(server: Server) -> None:
    noise = bytes(range(256)) * 4
    async with _socket(server, "stt", "deepgram/nova-3") as ws:
        await ws.send_json({"type": "session.create", "settings": {"sample_rate": "16000"}})
        for pcm in (bytes(3200), noise):
            for _ in range(20):
                await ws.send_json({"type": "input_audio", "audio": _b64(pcm)})
        await ws.send_json({"type": "session.finalize"})
        await ws.send_json({"type": "session.close"})
        kinds = [json.loads(message.data)["type"] async for message in ws]
    assert kinds == ["session.created", "session.finalized", "session.closed"]


async def test_one_pooled_socket_serves_many_generations(server: Server) -> None:
    async with _closing(_tts(server, voice="some-voice-id")) as tts:
        first = await _spoken(tts, "Hello there. How are you today?")
        again = await _spoken(tts, "Hello there. How are you today?")
        assert bytes(first.data) == bytes(again.data)
        assert (await _spoken(tts, "It’s — “fine”…")).duration > 0.3
        assert (await _spoken(tts, "你好")).duration > 0  # nothing to say is no failure


async def test_each_generation_has_one_id_and_one_done(server: Server) -> None:
    async with _socket(server, "tts", "cartesia/sonic-3") as ws:
        create = {"type": "session.create", "sample_rate": "24000", "encoding": "pcm_s16le"}
        await ws.send_json(create)
        for _ in range(2):
            for text in ("One. ", "Two. "):
                await ws.send_json({"type": "input_transcript", "transcript": text})
            await ws.send_json({"type": "session.flush"})
        await ws.send_json({"type": "session.close"})
        frames = [json.loads(message.data) async for message in ws]
    assert [f["type"] for f in frames].count("done") == 2
    spoken = [f["session_id"] for f in frames if f["type"] == "output_audio"]
    done = [f["session_id"] for f in frames if f["type"] == "done"]
    assert list(dict.fromkeys(spoken)) == done


async def test_the_language_model_streams_a_conversation(server: Server) -> None:
    context = llm.ChatContext.empty()
    context.add_message(role="system", content="You are the front desk.")
    async with _closing(inference.LLM("openai/gpt-5-mini", **server.credentials)) as model:
        context.add_message(role="user", content="Hello, my name is Anna.")
        context.add_message(role="assistant", content=(await _answer(model, context))[0])
        context.add_message(role="user", content="What is my name?")
        text, pieces, usage = await _answer(model, context)
    assert text == "Your name is Anna."
    assert pieces == 4
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


async def _answer(
    model: inference.LLM, context: llm.ChatContext
) -> tuple[str, int, llm.CompletionUsage | None]:
    pieces, usage = [], None
    async with model.chat(chat_ctx=context, conn_options=ONCE) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                pieces.append(chunk.delta.content)
            usage = chunk.usage or usage
    return "".join(pieces), len(pieces), usage


class Reception(Agent):
    """An agent with a tool, and with a colleague."""

    def __init__(self) -> None:
        super().__init__(instructions="You are the front desk.")
        self.asked: list[str] = []

    @function_tool
    async def lookup_weather(self, location: str) -> str:
        """Look up the weather."""
        self.asked.append(location)
        return f"sunny in {location}"

    @function_tool
    async def transfer_to_billing(self) -> Agent:
        """Let a colleague answer questions about bills."""
        return Billing(instructions="You know about bills.", chat_ctx=self.chat_ctx)


class Billing(Agent):
    """The colleague."""


async def test_the_language_model_calls_tools_and_says_what_they_found(server: Server) -> None:
    reception = Reception()
    model = inference.LLM("openai/gpt-5-mini", **server.credentials)
    async with _closing(model), AgentSession(llm=model) as session:
        await session.start(reception)
        found: RunResult[None] = await session.run(user_input="What is the weather in Paris?")
        found.expect.next_event().is_function_call(name="lookup_weather", arguments={"location": "Paris"})
        found.expect.next_event().is_function_call_output(output="sunny in Paris")
        said = found.expect.next_event().is_message(role="assistant")
        assert said.event().item.text_content == "Here is what I found: sunny in Paris."
        found.expect.no_more_events()
        assert reception.asked == ["Paris"]

        handed: RunResult[None] = await session.run(user_input="I have a question about billing.")
        handed.expect.contains_function_call(name="transfer_to_billing")
        handed.expect.contains_agent_handoff(new_agent_type=Billing)
        assert isinstance(session.current_agent, Billing)


async def test_a_call_of_a_tool_can_be_had_whole(server: Server) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema}}
    body = {
        "model": "openai/gpt-4o",
        "messages": [{"role": "user", "content": "The weather in Rome?"}],
        "tools": [tool],
    }
    async with _http() as http:
        answer = await http.post(f"{server.origin}/v1/chat/completions", json=body)
        (choice,) = (await answer.json())["choices"]
        refused = await http.post(f"{server.origin}/v1/chat/completions", json={**body, "tools": ["x"]})
        assert refused.status == 400
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Rome"}'}


async def test_a_completion_can_be_had_whole(server: Server) -> None:
    body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "2 plus 2?"}]}
    async with _http() as http:
        answer = await http.post(f"{server.origin}/v1/chat/completions", json=body)
        completion = await answer.json()
        models = await (await http.get(f"{server.origin}/v1/models")).json()
    assert completion["choices"][0]["message"]["content"] == "2 plus 2 is 4."
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert "openai/gpt-5-mini" in {model["id"] for model in models["data"]}


async def test_unknown_models_are_named_and_not_retried(server: Server) -> None:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    async with _closing(inference.LLM("openai/gpt-55", **server.credentials)) as model:
        with pytest.raises(APIStatusError) as refused:
            await _answer(model, context)
    assert refused.value.status_code == 404
    assert not refused.value.retryable
    assert "'openai/gpt-55'" in str(refused.value)

    async with _closing(_tts(server, "cartesia/sonic-33")) as tts:
        with pytest.raises(APIStatusError) as refused:
            await _spoken(tts, "Hello.")
    _assert_names(refused.value, "cartesia/sonic-33", status=404)

    async with _closing(_stt(server, "deepgram/nova-33")) as ears:
        with pytest.raises(APIStatusError) as refused:
            await _next_final(ears.stream(conn_options=ONCE), [])
    _assert_names(refused.value, "deepgram/nova-33", status=404)


async def test_a_wrong_secret_is_unauthorized_everywhere(server: Server) -> None:
    wrong = {**server.credentials, "api_secret": "x" * 32}
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    async with _closing(inference.LLM("openai/gpt-5-mini", **wrong)) as model:
        with pytest.raises(APIStatusError, match="Signature verification failed") as refused:
            await _answer(model, context)
    assert refused.value.status_code == 401
    async with _closing(inference.TTS("cartesia/sonic-3", **wrong)) as tts:
        with pytest.raises(APIStatusError) as refused:
            await _spoken(tts, "Hello.")
    _assert_names(refused.value, "cartesia/sonic-3", status=401)
    async with _closing(inference.STT("deepgram/nova-3", **wrong)) as ears:
        with pytest.raises(APIStatusError) as refused:
            await _next_final(ears.stream(conn_options=ONCE), [])
    _assert_names(refused.value, "deepgram/nova-3", status=401)


def _assert_names(error: APIStatusError, descriptor: str, *, status: int) -> None:
    """The client drops the body of a refused upgrade; the URL in the cause keeps the name."""
    assert error.status_code == status
    assert not error.retryable
    assert isinstance(error.__cause__, aiohttp.WSServerHandshakeError)
    assert error.__cause__.request_info.real_url.query["model"] == descriptor


@pytest.mark.parametrize(
    ("path", "frame", "reason"),
    [
        ("stt", {"type": "session.create", "settings": {"sample_rate": "1"}}, "sample_rate"),
        ("stt", {"type": "input_audio", "audio": ""}, "before session.create"),
        ("tts", {"type": "input_transcript", "transcript": "Hi"}, "before session.create"),
        ("tts", {"type": "session.create", "model": "cartesia/sonic-33"}, "'cartesia/sonic-33'"),
        ("tts", ["no object"], "object"),
    ],
)
async def test_a_senseless_frame_is_answered_and_the_socket_closed(
    server: Server, path: str, frame: Any, reason: str
) -> None:
    model = {"stt": "deepgram/nova-3", "tts": "cartesia/sonic-3"}[path]
    async with _socket(server, path, model) as ws:
        await ws.send_json(frame)
        answers = [json.loads(message.data) async for message in ws]
    assert [answer["type"] for answer in answers] == ["error"]
    assert reason in answers[0]["message"]


async def test_metrics_have_bounded_labels(server: Server) -> None:
    async with _http() as http:
        text = await (await http.get(f"{server.origin}/metrics")).text()
    labels = set(re.findall(r'inference_requests_total\{kind="(\w+)"', text))
    assert labels <= {"llm", "stt", "tts", "other"}
    assert "inference_load_seconds" in text


async def test_it_stops_with_sockets_open(tmp_path: Path) -> None:
    with _running(tmp_path) as running:
        await _until_ready(running)
        async with _socket(running, "stt", "auto"), _socket(running, "tts", "rime"):
            running.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(running.process.wait, 10)
        assert code == 0, running.log.read_text()


async def test_a_failing_voice_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with _running(tmp_path, FLITE_PATH="false") as running:
        await _until_ready(running)
        async with _closing(_tts(running)) as tts:
            with pytest.raises(APIError, match="flite ended with 1"):
                await _spoken(tts, "Hello.")


async def test_it_says_how_to_install_a_missing_engine(tmp_path: Path) -> None:
    with _running(tmp_path, FLITE_PATH="no-such-flite") as running:
        assert await asyncio.to_thread(running.process.wait, 30) == 2
        assert "apt-get install flite" in running.log.read_text()


def _http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {create_access_token(KEY, SECRET)}"})


@contextlib.asynccontextmanager
async def _socket(server: Server, path: str, model: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{server.origin}/v1/{path}"
    async with _http() as http, http.ws_connect(url, params={"model": model}) as ws:
        yield ws


def _b64(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()
