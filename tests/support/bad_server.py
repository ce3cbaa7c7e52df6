"""A server that accepts every connection and answers badly: never, slowly, by half, or with something else.

It speaks no protocol: whatever a client sends, it gets what `behaviour` says.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

NEVER: Final = "never"
SLOWLY: Final = "slowly"
HALF_AND_SILENCE: Final = "half, and silence"
HALF_AND_GONE: Final = "half, and gone"
HANGS_UP: Final = "hangs up"
NO_HTTP: Final = "no HTTP"
NO_BREAK: Final = "no line break"
HTML: Final = "200 with HTML"
OTHER_JSON: Final = "200 with JSON"
NO_PROTOBUF: Final = "200 with a broken message"
LIST_OF_ERRORS: Final = "500 with a JSON list"
HTML_404: Final = "404 with HTML"
TEXT_404: Final = "404 with text"
JSON_404: Final = "404 with another API's JSON"
BAD_ROUTE: Final = "404 with bad_route"
LOGIN: Final = "401 of a web page"
REDIRECT: Final = "302 to itself"
REDIRECT_308: Final = "308 to itself"

SILENT: Final = (NEVER, SLOWLY, HALF_AND_SILENCE)
"""They keep the connection, and never come to an end."""

FOREIGN: Final = (HTML, OTHER_JSON, NO_PROTOBUF, HTML_404, TEXT_404, JSON_404, BAD_ROUTE, LOGIN, REDIRECT)
"""HTTP, of somebody who isn't asked."""

BROKEN: Final = (HALF_AND_GONE, HANGS_UP, NO_HTTP, LIST_OF_ERRORS, REDIRECT_308)

_DRIP_S: Final = 0.05


def _http(status: str, kind: str, body: bytes, *more: str, length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {length or len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


_PAGE: Final = b"<!doctype html><title>Nothing here</title>"
_PROTOBUF: Final = "application/protobuf"
_SENT: Final[dict[str, bytes]] = {
    SLOWLY: _http("200 OK", _PROTOBUF, b"\n" * 100_000),
    HALF_AND_SILENCE: _http("200 OK", _PROTOBUF, b"\x0a\x05", length=10),
    HALF_AND_GONE: _http("200 OK", _PROTOBUF, b"\x0a\x05", length=10),
    HANGS_UP: b"",
    NO_HTTP: b"-ERR unknown command 'POST'\r\n",
    NO_BREAK: b"\x00\xff" * 100,
    HTML: _http("200 OK", "text/html; charset=utf-8", _PAGE),
    OTHER_JSON: _http("200 OK", "application/json", b'{"data": []}'),
    NO_PROTOBUF: _http("200 OK", _PROTOBUF, b"\xff\xff\xff\xff\xff"),
    LIST_OF_ERRORS: _http("500 No", "application/json", b'["out of order"]'),
    HTML_404: _http("404 Not Found", "text/html", _PAGE),
    TEXT_404: _http("404 Not Found", "text/plain; charset=utf-8", b"404 page not found\n"),
    JSON_404: _http("404 Not Found", "application/json", b'{"code": "not_found", "title": "No such path"}'),
    BAD_ROUTE: _http("404 Not Found", "application/json", b'{"code": "bad_route", "msg": "no handler"}'),
    LOGIN: _http("401 No", "text/plain", b"who are you?", 'WWW-Authenticate: Basic realm="x"'),
    REDIRECT: _http("302 Found", "text/html", _PAGE, "Location: /again?token=secret"),
    REDIRECT_308: _http("308 Permanent Redirect", "text/html", _PAGE, "Location: /again"),
}


class BadServer:
    """Listens on `port` of the loopback interface; `connections` have been made so far."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.port = 0
        self.connections = 0
        self._open: set[asyncio.Task[None]] = set()

    def url(self, scheme: str = "ws", path: str = "") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, forever if the client doesn't end it."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End every connection."""
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            sent = _SENT.get(self.behaviour, b"")
            if self.behaviour == SLOWLY:
                await _drip(writer, sent)
            else:
                writer.write(sent)
                await writer.drain()
            if self.behaviour in (HALF_AND_GONE, HANGS_UP, NO_HTTP):
                return


async def _drip(writer: asyncio.StreamWriter, sent: bytes) -> None:
    for byte in sent:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_DRIP_S)


@asynccontextmanager
async def bad_server(behaviour: str) -> AsyncIterator[BadServer]:
    """Yield a server with this behaviour, until `behaviour` is changed."""
    server = BadServer(behaviour)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.stop()
