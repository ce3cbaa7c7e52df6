"""What the sockets for speech share: reading and writing JSON frames, and the order of answers."""

import asyncio
import base64
import binascii
import json
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import WSCloseCode, WSMsgType, web

from services.inference import metrics
from services.inference.catalogue import Kind
from services.inference.request_refused import RequestRefused, malformed
from shared.platform.logs.logs import get_logger

MAX_FRAME_BYTES = 1 << 20  # the client sends some 2 kB for 50 ms of audio
MAX_WAITING = 64  # pieces of work of one socket; beyond that, reading pauses
SAMPLE_RATES = range(8_000, 48_001)

_log = get_logger(__name__)
_open: "weakref.WeakSet[web.WebSocketResponse]" = weakref.WeakSet()

W = TypeVar("W")


async def close_open_sockets(_: web.Application) -> None:
    """Close the connection to every peer, so that stopping doesn't wait for them."""
    await asyncio.gather(
        *(ws.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down") for ws in set(_open))
    )


class Conduct(ABC, Generic[W]):
    """One socket. It reads frames as they come, and does the work they ask for one by one, in order.

    There is no heartbeat: the client leaves pooled sockets unread between sentences, and would
    not answer one.
    """

    kind: ClassVar[Kind]

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws
        self._work: asyncio.Queue[W] = asyncio.Queue(MAX_WAITING)

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Serve the socket until either side closes it."""
        await self._ws.prepare(request)
        _open.add(self._ws)
        await self.greet()
        with metrics.socket_open(self.kind):
            halves = [
                asyncio.create_task(self._to_its_end(half())) for half in (self._read, self._work_in_order)
            ]
            try:
                # When one half ends, the other has no peer any more.
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for half in halves:
                    half.cancel()
                await asyncio.gather(*halves, return_exceptions=True)
        return self._ws

    async def greet(self) -> None:
        """Send what the client expects before its first frame; nothing by default."""

    def refused(self, refusal: RequestRefused) -> dict[str, Any]:
        """Return the frame that tells of a refusal."""
        return refusal.frame()

    @abstractmethod
    async def on_frame(self, frame: dict[str, Any]) -> None:
        """Handle one frame of the client; queue work that takes time."""

    @abstractmethod
    async def do(self, work: W) -> None:
        """Do one piece of queued work."""

    async def send(self, type_: str, **fields: Any) -> None:
        """Send one frame."""
        await self._ws.send_str(json.dumps({"type": type_, **fields}))

    async def _read(self) -> None:
        async for message in self._ws:
            await self.on_frame(_parse(message.type, message.data))

    async def _work_in_order(self) -> None:
        while True:
            await self.do(await self._work.get())

    async def _to_its_end(self, half: Coroutine[Any, Any, None]) -> None:
        try:
            await half
        except ConnectionError:
            return  # the client has left
        except RequestRefused as refusal:
            if refusal.status < 500:  # the engine has counted its own failures
                metrics.request_refused(self.kind)
            reason = refusal.message
            _log.warning("socket_refused", kind=self.kind, code=refusal.code, reason=reason)
            await self._fail(refusal)
        except Exception:
            _log.exception("socket_failed", kind=self.kind)
            await self._fail(RequestRefused(500, "engine_failed", f"the {self.kind} engine failed"))

    async def _fail(self, refusal: RequestRefused) -> None:
        if self._ws.closed:
            return
        try:
            await self._ws.send_str(json.dumps(self.refused(refusal)))
            await self._ws.close(code=WSCloseCode.POLICY_VIOLATION, message=refusal.code.encode())
        except ConnectionError:
            return


def _parse(kind: WSMsgType, data: Any) -> dict[str, Any]:
    if kind is not WSMsgType.TEXT:
        raise malformed("frames must be text")
    try:
        frame = json.loads(data)
    except ValueError:
        raise malformed("the frame is not JSON") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise malformed("the frame is not an object with a type")
    return frame


def sample_rate_of(settings: dict[str, Any]) -> int:
    """Return the requested sample rate, in Hz. The client sends it as a string."""
    try:
        rate = int(settings.get("sample_rate", 16_000))
    except (TypeError, ValueError):
        rate = 0
    if rate not in SAMPLE_RATES:
        raise malformed("sample_rate must be from 8000 to 48000", param="sample_rate")
    if settings.get("encoding", "pcm_s16le") != "pcm_s16le":
        raise malformed("encoding must be pcm_s16le", param="encoding")
    return rate


def pcm_of(frame: dict[str, Any]) -> bytes:
    """Return the audio of a frame."""
    try:
        pcm = base64.b64decode(frame.get("audio", ""), validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise malformed("audio is not base64", param="audio") from None
    if len(pcm) % 2:
        raise malformed("audio is not whole 16-bit samples", param="audio")
    return pcm
