"""The route for realtime models: speech in and out over one WebSocket, as in OpenAI's realtime API.

The model is this machine's three engines in a row. The frames are those that livekit-agents 1.8.9 sends and
reads (`livekit/agents/llm/_realtime/openai.py`, which its inference client extends).
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from aiohttp import web

from services.inference import metrics
from services.inference.audio import Resampler, to_samples
from services.inference.catalogue import Kind, require
from services.inference.ports import (
    Converser,
    SpeechDetector,
    SynthesisFailed,
    Synthesizer,
    ToolCall,
    Tools,
    Transcriber,
)
from services.inference.realtime_items import Items, new_id
from services.inference.request_refused import RequestRefused, malformed
from services.inference.segment import SAMPLE_RATE, Segmenter, SpeechStarted, Utterance
from services.inference.sockets import MAX_FRAME_BYTES, Conduct, pcm_of
from services.inference.tool_schema import read_tools

WIRE_RATE: Final = 24_000  # Hz; the client knows no other
PIECE_BYTES: Final = 2 * WIRE_RATE // 10  # 100 ms of speech in one frame
_WORD: Final = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Respond:
    """The model is to say something now. `asked`: the client's parameters; empty after the caller's words."""

    asked: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Engines:
    """What a realtime model is made of here."""

    transcriber: Transcriber
    new_detector: Callable[[], SpeechDetector]
    silence_s: float
    converse: Converser
    synthesizer: Synthesizer


class Realtime:
    """`WS /v1/realtime?model=…`."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refuse bad requests at the upgrade, by status. Raises `RequestRefused`."""
        require(Kind.REALTIME, request.query.get("model"))
        if not self._engines.transcriber.ready:
            raise RequestRefused(503, "not_ready", "the weights are still loading; try again")
        ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES)
        return await Talking(ws, self._engines).run(request)


class Talking(Conduct[SpeechStarted | Utterance | Respond]):
    """One conversation with one caller."""

    kind: ClassVar[Kind] = Kind.REALTIME

    def __init__(self, ws: web.WebSocketResponse, engines: Engines) -> None:
        super().__init__(ws)
        self._engines = engines
        self._segmenter = self._new_segmenter()
        self._resampler = Resampler(source=WIRE_RATE, target=SAMPLE_RATE)
        self._items = Items()
        self._session: dict[str, Any] = {}
        self._speaker = new_id("item")  # the item of the caller's current words
        self._response: str | None = None
        self._cancelled = False

    async def send(self, type_: str, **fields: Any) -> None:
        """Send one frame. Each has an id, which the client's metrics need."""
        await super().send(type_, event_id=new_id("event"), **fields)

    async def greet(self) -> None:
        """Say that the session exists."""
        await self.send("session.created", session={"type": "realtime", "id": new_id("sess")})

    async def on_frame(self, frame: dict[str, Any]) -> None:
        """Handle the client's frames; skip unknown ones, which newer clients may send."""
        try:
            await self._handle(frame)
        except RequestRefused as refusal:
            # As the gateway does: the conversation goes on, and the client learns which frame failed.
            await self._ws.send_str(json.dumps(self.refused(refusal, event_id=frame.get("event_id"))))

    async def do(self, work: SpeechStarted | Utterance | Respond) -> None:
        """Answer in the order in which things were heard."""
        match work:
            case SpeechStarted():
                await self.send(
                    "input_audio_buffer.speech_started",
                    item_id=self._speaker,
                    audio_start_ms=round(work.at * 1000),
                )
            case Utterance():
                await self._hear(work)
            case Respond():
                await self._respond(work.asked)

    def refused(self, refusal: RequestRefused, *, event_id: object = None) -> dict[str, Any]:
        """See `Conduct`; the realtime API has a form of its own."""
        return {"type": "error", "error": {**refusal.body()["error"], "event_id": event_id}}

    async def _handle(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "session.update":
                await self._update(frame.get("session"))
            case "input_audio_buffer.append":
                await self._listen(pcm_of(frame))
            case "input_audio_buffer.commit":
                if (utterance := self._segmenter.flush()) is not None:
                    await self._work.put(utterance)
            case "input_audio_buffer.clear":
                self._segmenter = self._new_segmenter()
            case "conversation.item.create":
                await self._add(frame.get("item"), after=frame.get("previous_item_id"))
            case "conversation.item.delete":
                await self.send("conversation.item.deleted", item_id=self._items.delete(frame.get("item_id")))
            case "conversation.item.truncate":
                fields = {key: frame.get(key) for key in ("item_id", "content_index", "audio_end_ms")}
                await self.send("conversation.item.truncated", **fields)
            case "response.create":
                asked = frame.get("response")
                await self._work.put(Respond(asked if isinstance(asked, dict) else {}))
            case "response.cancel":
                self._cancel()

    async def _update(self, session: object) -> None:
        if not isinstance(session, dict):
            raise malformed("session must be an object", param="session")
        given = {key: value for key, value in session.items() if value is not None}
        read_tools(_as_chat_request(given))
        self._session |= given
        await self.send("session.updated", session=self._session)

    async def _listen(self, pcm: bytes) -> None:
        for event in self._segmenter.push(to_samples(self._resampler.push(pcm))):
            if isinstance(event, SpeechStarted) and self._turn_detection.get("interrupt_response", True):
                self._cancelled = True
            await self._work.put(event)

    @property
    def _turn_detection(self) -> Mapping[str, Any]:
        """How turns are detected; empty where the client says by `commit` that one has ended."""
        heard = (self._session.get("audio") or {}).get("input") or {}
        return heard.get("turn_detection") or {}

    async def _hear(self, utterance: Utterance) -> None:
        item_id, self._speaker = self._speaker, new_id("item")
        await self.send(
            "input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=round(utterance.end * 1000)
        )
        await self.send("input_audio_buffer.committed", item_id=item_id)
        spoken = [{"type": "input_audio", "transcript": None}]
        await self._add({"id": item_id, "type": "message", "role": "user", "content": spoken})
        with metrics.engine_work(Kind.REALTIME):
            transcript = await self._engines.transcriber.transcribe(utterance.samples)
        self._items.heard(item_id, transcript.text)
        await self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            content_index=0,
            transcript=transcript.text,
            usage={"type": "duration", "seconds": round(utterance.end - utterance.start, 3)},
        )
        if transcript.text and self._turn_detection.get("create_response", False):
            await self._respond({})

    async def _add(self, item: object, *, after: object = None) -> None:
        previous, kept = self._items.add(item, after=after)
        await self.send("conversation.item.added", previous_item_id=previous, item=kept)

    def _cancel(self) -> None:
        if self._response is None:
            raise RequestRefused(
                400, "response_cancel_not_active", "Cancellation failed: no active response found"
            )
        self._cancelled = True

    async def _respond(self, asked: Mapping[str, Any]) -> None:
        self._cancelled = False
        self._response = new_id("resp")
        head = {"id": self._response, "object": "realtime.response", "metadata": asked.get("metadata")}
        await self.send("response.created", response={**head, "status": "in_progress"})
        details: dict[str, Any] | None = None
        try:
            answer = self._engines.converse(
                self._items.messages(asked.get("instructions") or self._session.get("instructions")),
                self._tools(asked),
            )
            await (self._call(answer) if isinstance(answer, ToolCall) else self._say(answer))
            status = "cancelled" if self._cancelled else "completed"
        except SynthesisFailed as failed:
            status = "failed"
            details = {
                "type": "failed",
                "error": {"type": "server_error", "code": "synthesis_failed", "message": str(failed)},
            }
        self._response = None
        done: dict[str, Any] = {**head, "status": status, "status_details": details, "output": []}
        await self.send("response.done", response=done)

    def _tools(self, asked: Mapping[str, Any]) -> Tools:
        return read_tools(_as_chat_request({**self._session, **asked}))

    async def _call(self, call: ToolCall) -> None:
        item = await self._begin(
            {"type": "function_call", "call_id": new_id("call"), "name": call.name, "arguments": ""}
        )
        item["arguments"] = json.dumps(call.arguments)
        await self._send_of("response.function_call_arguments.done", item, arguments=item["arguments"])
        await self._end(item, "completed")

    async def _say(self, text: str) -> None:
        item = await self._begin({"type": "message", "role": "assistant", "content": []})
        await self._send_of("response.content_part.added", item, part={"type": "audio", "transcript": ""})
        speech = await self._voiced(text)
        for word in _WORD.findall(text):
            await self._send_of("response.output_audio_transcript.delta", item, delta=word)
        for piece in _pieces(speech):
            if self._cancelled:
                break
            delta = base64.b64encode(piece).decode()
            await self._send_of("response.output_audio.delta", item, delta=delta)
        await self._send_of("response.output_audio.done", item)
        item["content"] = [{"type": "output_audio", "transcript": text}]
        await self._end(item, "incomplete" if self._cancelled else "completed")

    async def _begin(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Add an item of the model's. What is filled in later is remembered with it."""
        previous, item = self._items.add({**wanted, "status": "in_progress"})
        await self._send_of("response.output_item.added", item, item=item)
        await self.send("conversation.item.added", previous_item_id=previous, item=item)
        return item

    async def _end(self, item: dict[str, Any], status: str) -> None:
        item["status"] = status
        await self._send_of("response.output_item.done", item, item=item)

    async def _send_of(self, type_: str, of: Mapping[str, Any], /, **fields: Any) -> None:
        place = {"output_index": 0, "content_index": 0}
        await self.send(type_, response_id=self._response, item_id=of["id"], **place, **fields)

    async def _voiced(self, text: str) -> bytes:
        output = (self._session.get("audio") or {}).get("output") or {}
        voice = output.get("voice")
        with metrics.engine_work(Kind.REALTIME):
            audio = await self._engines.synthesizer.speak(
                text, voice=voice if isinstance(voice, str) else None
            )
        resampler = Resampler(source=audio.sample_rate, target=WIRE_RATE)
        return resampler.push(audio.pcm) + resampler.flush()

    def _new_segmenter(self) -> Segmenter:
        return Segmenter(detector=self._engines.new_detector(), silence_s=self._engines.silence_s)


def _pieces(pcm: bytes) -> Iterator[bytes]:
    return (pcm[start : start + PIECE_BYTES] for start in range(0, len(pcm), PIECE_BYTES))


def _as_chat_request(session: Mapping[str, Any]) -> dict[str, Any]:
    """The tools of a session in the form of chat completions, whose functions are an object deeper."""
    tools, choice = session.get("tools") or [], session.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if not isinstance(tools, list):
        raise malformed("tools must be a list of objects", param="tools")
    return {
        "tools": [
            {"type": "function", "function": tool} if isinstance(tool, dict) else tool for tool in tools
        ],
        "tool_choice": choice,
    }
