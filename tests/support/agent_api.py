"""A small API for agent workers, which answers as a test says. It speaks WebSocket on a real port."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from shared.contracts.agent_calls import (
    JOB_PATH,
    MAX_FRAME_BYTES,
    WORKER_PATH,
    Answer,
    AnyCall,
    CallRefusal,
    RefusalCode,
    Request,
)

SILENT: Final = object()
CUT: Final = object()


class AgentApi:
    """The API. `answers` has for the name of a call its result, a refusal, `SILENT` or `CUT`.

    `handshakes` are the headers of all of them, `calls` what each connection was asked.
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.answers: dict[str, Any] = {}
        self.handshakes: list[Mapping[str, str]] = []
        self.calls: list[list[AnyCall]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.status: int | None = None
        self.open = asyncio.Event()
        self.open.set()

    @property
    def called(self) -> list[str]:
        """The names of the calls of the newest connection."""
        return [call.call for call in self.calls[-1]] if self.calls else []

    def refuse(self, call: str, code: RefusalCode) -> None:
        self.answers[call] = CallRefusal(code=code, detail=f"it is {code}")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.headers))
        await self.open.wait()
        if self.status is not None:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        calls: list[AnyCall] = []
        self.calls.append(calls)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = Request.model_validate_json(message.data)
            calls.append(asked.call)
            if not await self._answer(socket, asked):
                break
        return socket

    async def _answer(self, socket: web.WebSocketResponse, asked: Request) -> bool:
        answer = self.answers.get(asked.call.call)
        if answer is CUT:
            return False
        if answer is SILENT:
            return True
        refusal = answer if isinstance(answer, CallRefusal) else None
        made = Answer(id=asked.id, result=None if refusal else answer, refusal=refusal)
        await socket.send_str(made.model_dump_json(exclude_none=True))
        return True


@asynccontextmanager
async def agent_api() -> AsyncIterator[AgentApi]:
    """Yield an API that listens."""
    api = AgentApi()
    app = web.Application()
    app.router.add_get(WORKER_PATH, api.serve)
    app.router.add_get(JOB_PATH, api.serve)
    async with TestServer(app) as server:
        api.url = str(server.make_url("")).rstrip("/")
        yield api
        api.open.set()
        for socket in api.sockets:
            await socket.close()
