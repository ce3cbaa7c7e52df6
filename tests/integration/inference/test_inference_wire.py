"""The unmodified livekit-agents client talks with the real inference process."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import (
    APIError,
    APIStatusError,
    inference,
    llm,
    stt,
)

from tests.integration.inference.inference_process import (
    ONCE,
    Server,
    ask,
    b64,
    closing,
    make_stt,
    make_tts,
    open_http,
    open_socket,
    running_process,
    spoken,
    until_ready,
)

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
    # The rate matters to the resampling only, and each sentence takes seconds.
    sentences = SENTENCES if sample_rate == 16_000 else SENTENCES[2:5]
    wrong = total = 0
    async with (
        closing(make_tts(server, sample_rate=sample_rate)) as tts,
        closing(make_stt(server, sample_rate=sample_rate)) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        for sentence in sentences:
            audio = await spoken(tts, sentence)
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
        closing(make_tts(server, sample_rate=16_000)) as tts,
        closing(make_stt(server)) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        audio = await spoken(tts, "The quick brown fox jumps over the lazy dog.")
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
        closing(make_tts(server, sample_rate=16_000)) as tts,
        closing(make_stt(server, language="en")) as ears,
        ears.stream(conn_options=ONCE) as stream,
    ):
        audio = await spoken(tts, "My name is Anna.")
        await _push(stream, audio, silence_s=0)
        stream.end_input()
        final = await _next_final(stream, [])
        assert "Anna" in final.text


async def test_noise_and_silence_are_not_speech(server: Server) -> None:
    noise = bytes(range(256)) * 4
    async with open_socket(server, "stt", "deepgram/nova-3") as ws:
        await ws.send_json({"type": "session.create", "settings": {"sample_rate": "16000"}})
        for pcm in (bytes(3200), noise):
            for _ in range(20):
                await ws.send_json({"type": "input_audio", "audio": b64(pcm)})
        await ws.send_json({"type": "session.finalize"})
        await ws.send_json({"type": "session.close"})
        kinds = [json.loads(message.data)["type"] async for message in ws]
    assert kinds == ["session.created", "session.finalized", "session.closed"]


async def test_one_pooled_socket_serves_many_generations(server: Server) -> None:
    async with closing(make_tts(server, voice="some-voice-id")) as tts:
        first = await spoken(tts, "Hello there. How are you today?")
        again = await spoken(tts, "Hello there. How are you today?")
        assert bytes(first.data) == bytes(again.data)
        assert (await spoken(tts, "It’s — “fine”…")).duration > 0.3
        assert (await spoken(tts, "你好")).duration > 0  # nothing to say is no failure


async def test_each_generation_has_one_id_and_one_done(server: Server) -> None:
    async with open_socket(server, "tts", "cartesia/sonic-3") as ws:
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


async def test_unknown_models_are_named_and_not_retried(server: Server) -> None:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    async with closing(inference.LLM("openai/gpt-55", **server.credentials)) as model:
        with pytest.raises(APIStatusError) as refused:
            await ask(model, context)
    assert refused.value.status_code == 404
    assert not refused.value.retryable
    assert "'openai/gpt-55'" in str(refused.value)

    async with closing(make_tts(server, "cartesia/sonic-33")) as tts:
        with pytest.raises(APIStatusError) as refused:
            await spoken(tts, "Hello.")
    _assert_names(refused.value, "cartesia/sonic-33", status=404)

    async with closing(make_stt(server, "deepgram/nova-33")) as ears:
        with pytest.raises(APIStatusError) as refused:
            await _next_final(ears.stream(conn_options=ONCE), [])
    _assert_names(refused.value, "deepgram/nova-33", status=404)


async def test_a_wrong_secret_is_unauthorized_everywhere(server: Server) -> None:
    wrong = {**server.credentials, "api_secret": "x" * 32}
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    async with closing(inference.LLM("openai/gpt-5-mini", **wrong)) as model:
        with pytest.raises(APIStatusError, match="Signature verification failed") as refused:
            await ask(model, context)
    assert refused.value.status_code == 401
    async with closing(inference.TTS("cartesia/sonic-3", **wrong)) as tts:
        with pytest.raises(APIStatusError) as refused:
            await spoken(tts, "Hello.")
    _assert_names(refused.value, "cartesia/sonic-3", status=401)
    async with closing(inference.STT("deepgram/nova-3", **wrong)) as ears:
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
    async with open_socket(server, path, model) as ws:
        await ws.send_json(frame)
        answers = [json.loads(message.data) async for message in ws]
    assert [answer["type"] for answer in answers] == ["error"]
    assert reason in answers[0]["message"]


async def test_metrics_have_bounded_labels(server: Server) -> None:
    async with open_http() as http:
        text = await (await http.get(f"{server.origin}/metrics")).text()
    labels = set(re.findall(r'inference_requests_total\{kind="(\w+)"', text))
    assert labels <= {"llm", "stt", "tts", "other"}
    assert "inference_load_seconds" in text


async def test_it_stops_with_sockets_open(tmp_path: Path) -> None:
    with running_process(tmp_path) as running:
        await until_ready(running)
        async with open_socket(running, "stt", "auto"), open_socket(running, "tts", "rime"):
            running.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(running.process.wait, 10)
        assert code == 0, running.log.read_text()


async def test_a_failing_voice_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with running_process(tmp_path, FLITE_PATH="false") as running:
        await until_ready(running)
        async with closing(make_tts(running)) as tts:
            with pytest.raises(APIError, match="flite ended with 1"):
                await spoken(tts, "Hello.")


async def test_it_says_how_to_install_a_missing_engine(tmp_path: Path) -> None:
    with running_process(tmp_path, FLITE_PATH="no-such-flite") as running:
        assert await asyncio.to_thread(running.process.wait, 30) == 2
        assert "apt-get install flite" in running.log.read_text()
