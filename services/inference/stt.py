"""The route for speech recognition: audio in over a WebSocket, interim and final transcripts out."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, ClassVar

import uuid_utils
from aiohttp import web

from services.inference import metrics
from services.inference.audio import Resampler, to_samples
from services.inference.catalogue import Kind, require
from services.inference.ports import SpeechDetector, Transcriber, Transcript
from services.inference.request_refused import RequestRefused, malformed
from services.inference.segment import SAMPLE_RATE, Segmenter, SpeechStarted, Utterance
from services.inference.sockets import MAX_FRAME_BYTES, Conduct, pcm_of, sample_rate_of
from shared.platform.logs.logs import get_logger

_log = get_logger(__name__)


class Mark(Enum):
    """An answer that the client wants once everything before it is transcribed."""

    FINALIZED = auto()
    CLOSED = auto()


class Listen:
    """`WS /v1/stt?model=…`."""

    def __init__(
        self,
        *,
        transcriber: Transcriber,
        new_detector: Callable[[], SpeechDetector],
        silence_s: float,
        interim_s: float,
    ) -> None:
        self._transcriber = transcriber
        self._new_detector = new_detector
        self._silence_s = silence_s
        self._interim_s = interim_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refuse bad requests at the upgrade, by status: the client doesn't retry a 4xx.

        Raises `RequestRefused`.
        """
        require(Kind.STT, request.query.get("model"))
        if not self._transcriber.ready:
            raise RequestRefused(503, "not_ready", "the weights are still loading; try again")
        hearing = Hearing(
            web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES),
            transcriber=self._transcriber,
            segmenter=Segmenter(detector=self._new_detector(), silence_s=self._silence_s),
            interim_s=self._interim_s,
        )
        return await hearing.run(request)


class Hearing(Conduct[SpeechStarted | Utterance | Mark]):
    """One stream of one speaker."""

    kind: ClassVar[Kind] = Kind.STT

    def __init__(
        self,
        ws: web.WebSocketResponse,
        *,
        transcriber: Transcriber,
        segmenter: Segmenter,
        interim_s: float,
    ) -> None:
        super().__init__(ws)
        self._interim_s = interim_s
        self._interim: asyncio.Task[None] | None = None
        self._next_interim_at = 0.0  # second of the stream
        self._transcriber = transcriber
        self._segmenter = segmenter
        self._resampler: Resampler | None = None
        self._language = "en"

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Serve the socket until either side closes it."""
        try:
            return await super().run(request)
        finally:
            if self._interim is not None:
                self._interim.cancel()

    async def on_frame(self, frame: dict[str, Any]) -> None:
        """Handle the client's frames; skip unknown ones, which newer clients may send."""
        match frame["type"]:
            case "session.create":
                await self._create(frame)
            case "input_audio":
                await self._hear(pcm_of(frame))
            case "session.update":
                self._use(_settings_of(frame))
            case "session.finalize":
                await self._finish(Mark.FINALIZED)
            case "session.close":
                await self._finish(Mark.CLOSED)

    async def do(self, work: SpeechStarted | Utterance | Mark) -> None:
        """Answer in the order in which things were heard."""
        match work:
            case SpeechStarted():
                await self.send("start_of_speech")
            case Utterance():
                await self._transcribe(work)
            case Mark.FINALIZED:
                await self.send("session.finalized")
            case Mark.CLOSED:
                await self.send("session.closed")
                await self._ws.close()

    async def _create(self, frame: dict[str, Any]) -> None:
        if self._resampler is not None:
            raise malformed("the session exists already")
        if "model" in frame:
            require(Kind.STT, frame["model"])
        settings = _settings_of(frame)
        self._resampler = Resampler(source=sample_rate_of(settings), target=SAMPLE_RATE)
        self._use(settings)
        await self.send("session.created", session_id=f"stt_{uuid_utils.uuid7().hex}")

    def _use(self, settings: dict[str, Any]) -> None:
        # The engine knows only English; the client expects its own language setting in the answer.
        language = settings.get("language")
        if isinstance(language, str) and language and language != "multi":
            self._language = language

    async def _hear(self, pcm: bytes) -> None:
        if self._resampler is None:
            raise malformed("audio before session.create")
        for event in self._segmenter.push(to_samples(self._resampler.push(pcm))):
            await self._work.put(event)
        self._think_aloud()

    def _think_aloud(self) -> None:
        """Send an interim transcript, unless a final transcript would have to wait for it."""
        busy = self._interim is not None and not self._interim.done()
        if not self._interim_s or busy or not self._work.empty() or not self._transcriber.idle:
            return
        speech = self._segmenter.speech
        if speech is not None and speech.end >= max(self._next_interim_at, speech.start + self._interim_s):
            self._next_interim_at = speech.end + self._interim_s
            self._interim = asyncio.create_task(self._send_interim(speech))

    async def _send_interim(self, speech: Utterance) -> None:
        try:
            transcript = await self._transcriber.transcribe(speech.samples, quickly=True)
            # Never after the final transcript of the same words.
            if transcript.text and self._segmenter.began == speech.start:
                await self._send_transcript("interim_transcript", transcript, speech)
        except ConnectionError:
            return  # the client has left
        except Exception:
            _log.exception("interim_transcript_failed")

    async def _finish(self, mark: Mark) -> None:
        utterance = self._segmenter.flush()
        if utterance is not None:
            await self._work.put(utterance)
        await self._work.put(mark)

    async def _transcribe(self, utterance: Utterance) -> None:
        with metrics.engine_work(Kind.STT):
            transcript = await self._transcriber.transcribe(utterance.samples)
        # An empty transcript is sent too: it tells the client that the announced speech has ended.
        await self._send_transcript("final_transcript", transcript, utterance)

    async def _send_transcript(self, type_: str, transcript: Transcript, utterance: Utterance) -> None:
        await self.send(
            type_,
            transcript=transcript.text,
            language=self._language,
            start=round(utterance.start, 3),
            duration=round(utterance.end - utterance.start, 3),
            confidence=round(transcript.confidence, 3),
            words=[],
        )


def _settings_of(frame: dict[str, Any]) -> dict[str, Any]:
    settings = frame.get("settings", {})
    if not isinstance(settings, dict):
        raise malformed("settings must be an object", param="settings")
    return settings
