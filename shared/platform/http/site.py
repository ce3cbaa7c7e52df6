"""An aiohttp server on a socket, with a limit to every wait for a caller."""

import asyncio
import socket

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from shared.platform.http.connections import TAKEN_AT_ONCE, Awaited, Connections, Wait
from shared.platform.http.listen import BACKLOG


class PatientSite(web.SockSite):
    """Like `web.SockSite`, for a runner that is set up, but with a limit to every wait for a caller."""

    def __init__(self, runner: web.AppRunner, listening: socket.socket, connections: Connections) -> None:
        super().__init__(runner, listening, backlog=TAKEN_AT_ONCE)
        self._connections = connections

    async def start(self) -> None:
        """Start serving."""
        await web.BaseSite.start(self)
        new_handler = self._runner.server
        if new_handler is None:
            raise RuntimeError("the runner is not set up")

        def protocol() -> asyncio.Protocol:
            handler = new_handler()
            return self._connections.of(handler, lambda: _awaited(handler))

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(protocol, sock=self._sock, backlog=self._backlog)
        self._sock.listen(BACKLOG)  # so many connections may wait in the kernel


def _awaited(handler: RequestHandler) -> Awaited | None:
    """Return what the connection waits for, read from private state of aiohttp 3.14."""
    if handler._waiter is not None and not handler._waiter.done():
        # Only the parser knows whether a second request has begun.
        first = handler._request_count == 0
        return Awaited(Wait.HEADER if first else Wait.NEXT, handler._request_count, unanswered=first)
    request = handler._current_request
    if request is not None and not request.content.is_eof() and not handler._reading_paused:
        return Awaited(Wait.BODY, handler._request_count)
    return None
