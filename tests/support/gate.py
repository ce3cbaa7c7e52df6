"""A proxy between our services and LiveKit's API. It counts calls, and breaks the answers to some."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import ClientSession, web

from devstack.ports import free_port

Fault = Literal["drop", "hold", "delay"] | int
"""What becomes of a call: its answer dropped or held after it took effect, the call held before that, or a
status instead of it.
"""

_HOP = {"transfer-encoding", "content-length", "connection", "content-encoding", "host"}


@dataclass
class Held:
    """Held calls or answers of one method: set `free` to release them; `count` is how many have arrived."""

    count: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)


class Gate:
    """Give services its `url` as LIVEKIT_URL, and set `upstream` once LiveKit's own address is known."""

    def __init__(self) -> None:
        self.port = free_port()
        self.upstream: str | None = None
        self.calls: Counter[str] = Counter()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._held: dict[str, Held] = defaultdict(Held)
        self._session: ClientSession | None = None

    @property
    def url(self) -> str:
        """Where services find LiveKit's API."""
        return f"http://127.0.0.1:{self.port}"

    def spoil(self, method: str, *faults: Fault) -> None:
        """The next calls of this method (`CreateRoom`) get these faults, one each; later calls succeed."""
        self._faults[method].extend(faults)

    def held(self, method: str) -> Held:
        """The held answers of a method."""
        return self._held[method]

    def heal(self) -> None:
        """Remove all faults, and release everything held."""
        self._faults.clear()
        for held in self._held.values():
            held.free.set()
        self._held.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one call on."""
        method = request.path.rsplit("/", 1)[-1]
        self.calls[method] += 1
        fault = self._faults[method].pop(0) if self._faults[method] else None
        if isinstance(fault, int):
            return web.json_response({"code": "spoiled", "msg": "by the test"}, status=fault)
        if fault == "delay":
            await self._hold(method)
        response = await self._pass_on(request)
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
        elif fault == "hold":
            await self._hold(method)
        return response

    async def _hold(self, method: str) -> None:
        held = self._held[method]
        held.count += 1
        held.arrived.set()
        await held.free.wait()

    async def _pass_on(self, request: web.Request) -> web.Response:
        if self._session is None or self.upstream is None:
            return web.Response(status=503)
        url = self.upstream.replace("ws", "http", 1) + request.path_qs
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method, url, headers=headers, data=await request.read()
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def open(self) -> None:
        """Listen."""
        self._session = ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        """Release everything, and stop listening."""
        self.heal()
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()


@asynccontextmanager
async def open_gate() -> AsyncIterator[Gate]:
    """Yield a listening gate, whose `upstream` must still be set."""
    gate = Gate()
    await gate.open()
    try:
        yield gate
    finally:
        await gate.close()
