"""The route for speech synthesis: sentences in over a WebSocket, audio out, one `done` for each flush."""

import base64
from dataclasses import dataclass
from typing import Any, ClassVar

import uuid_utils
from aiohttp import web

from services.inference import metrics
from services.inference.audio import Resampler
from services.inference.catalogue import Kind, require
from services.inference.ports import Audio, SynthesisFailed, Synthesizer
from services.inference.request_refused import RequestRefused, malformed
from services.inference.sockets import MAX_FRAME_BYTES, Conduct, sample_rate_of

FRAME_MS = 60


@dataclass(frozen=True)
class Sentence:
    """A text to speak."""

    text: str
    voice: str | None


@dataclass(frozen=True)
class Flush:
    """The generation ends here."""


@dataclass(frozen=True)
class Goodbye:
    """The client wants no more."""


class Speak:
    """`WS /v1/tts?model=…`."""

    def __init__(self, *, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refuse bad requests at the upgrade, by status: the client doesn't retry a 4xx."""
        require(Kind.TTS, request.query.get("model"))
        ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES)
        return await Speaking(ws, synthesizer=self._synthesizer).run(request)


class Speaking(Conduct[Sentence | Flush | Goodbye]):
    """One pooled socket: generation after generation, each with a session id of its own."""

    kind: ClassVar[Kind] = Kind.TTS

    def __init__(self, ws: web.WebSocketResponse, *, synthesizer: Synthesizer) -> None:
        super().__init__(ws)
        self._synthesizer = synthesizer
        self._sample_rate: int | None = None
        self._voice: str | None = None
        self._generation = _new_generation()

    async def on_frame(self, frame: dict[str, Any]) -> None:
        """Handle the client's frames; skip unknown ones, which newer clients may send."""
        match frame["type"]:
            case "session.create":
                await self._create(frame)
            case "input_transcript":
                await self._take(frame)
            case "session.flush":
                await self._work.put(Flush())
            case "session.close":
                await self._work.put(Goodbye())

    async def do(self, work: Sentence | Flush | Goodbye) -> None:
        """Speak, or end the generation."""
        match work:
            case Sentence():
                await self._say(work)
            case Flush():
                await self.send("done", session_id=self._generation)
                self._generation = _new_generation()
            case Goodbye():
                await self._ws.close()

    async def _create(self, frame: dict[str, Any]) -> None:
        if "model" in frame:
            require(Kind.TTS, frame["model"])
        self._sample_rate = sample_rate_of(frame)
        self._voice = _voice_of(frame)
        await self.send("session.created", session_id=self._generation)

    async def _take(self, frame: dict[str, Any]) -> None:
        text, options = frame.get("transcript", ""), frame.get("generation_config") or {}
        if self._sample_rate is None:
            raise malformed("text before session.create")
        if not isinstance(text, str) or not isinstance(options, dict):
            raise malformed("transcript must be a string, generation_config an object")
        if "model" in options:
            require(Kind.TTS, options["model"])
        if text.strip():
            await self._work.put(Sentence(text, _voice_of(options) or self._voice))

    async def _say(self, sentence: Sentence) -> None:
        try:
            with metrics.engine_work(Kind.TTS):
                audio = await self._synthesizer.speak(sentence.text, voice=sentence.voice)
        except SynthesisFailed as failed:
            raise RequestRefused(500, "synthesis_failed", str(failed)) from failed
        rate = self._sample_rate or audio.sample_rate
        pcm = _resampled(audio, rate)
        frame_bytes = 2 * (rate * FRAME_MS // 1000)
        for start in range(0, len(pcm), frame_bytes):
            await self.send(
                "output_audio",
                session_id=self._generation,
                audio=base64.b64encode(pcm[start : start + frame_bytes]).decode(),
            )


def _new_generation() -> str:
    return f"tts_{uuid_utils.uuid7().hex}"


def _voice_of(options: dict[str, Any]) -> str | None:
    voice = options.get("voice")
    return voice if isinstance(voice, str) and voice else None


def _resampled(audio: Audio, rate: int) -> bytes:
    resampler = Resampler(source=audio.sample_rate, target=rate)
    return resampler.push(audio.pcm) + resampler.flush()
