"""Callers who begin a request and never finish it, in different ways."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from tests.integration.background import in_background

_POST: Final = b"POST /v1/sessions HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"

SILENT: Final = b""
HALF_LINE: Final = b"GET /livez HT"
HALF_HEADER: Final = b"GET /livez HTTP/1.1\r\nHost: api\r\nX-Half: "
HALF_BODY: Final = _POST + b"Content-Length: 1000\r\n\r\n{"
NO_BODY: Final = _POST + b"Content-Length: 1000\r\n\r\n"
HALF_CHUNK: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"
SECOND_HALF: Final = b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\nGET /livez HTTP/1.1\r\nHost: "
TLS: Final = bytes.fromhex("16030102000100") + b"\x01\xfc" * 100

BEGINNINGS: Final = {
    "silent": SILENT,
    "half a line": HALF_LINE,
    "half a header": HALF_HEADER,
    "half a body": HALF_BODY,
    "no body": NO_BODY,
    "half a chunk": HALF_CHUNK,
    "a whole request and half of another": SECOND_HALF,
    "TLS": TLS,
}
TRICKLED: Final = {"header": (HALF_HEADER, b"x"), "body": (HALF_BODY, b" "), "chunks": (NO_BODY, b" ")}

_TRICKLE_EVERY_S: Final = 0.05


@contextmanager
def begun(port: int, beginning: bytes, number: int) -> Iterator[list[socket.socket]]:
    """Open so many connections that send `beginning`; the server closes those for which it has no room."""
    opened: list[socket.socket] = []
    try:
        for _ in range(number):
            made = socket.create_connection(("127.0.0.1", port), timeout=30)
            opened.append(made)
            with suppress(OSError):  # it may be closed already
                made.sendall(beginning)
        yield opened
    finally:
        for one in opened:
            one.close()


async def answer_to(port: int, beginning: bytes, trickle: bytes = b"") -> bytes:
    """Return everything until the server closes the connection, while sending a byte now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send_on() -> None:
        with suppress(OSError):
            while trickle:
                writer.write(trickle)
                await writer.drain()
                await asyncio.sleep(_TRICKLE_EVERY_S)

    try:
        writer.write(beginning)
        async with in_background(send_on()):
            received = bytearray()
            with suppress(ConnectionError):
                while more := await reader.read(65_536):
                    received += more
            return bytes(received)
    finally:
        writer.close()


@asynccontextmanager
async def again_and_again(port: int, beginning: bytes, at_once: int) -> AsyncIterator[Callable[[], int]]:
    """Keep so many connections open by reconnecting each at once; yield how many there were so far."""
    came = 0

    async def come() -> None:
        nonlocal came
        while True:
            came += 1
            with suppress(OSError):
                await answer_to(port, beginning)

    async def all_of_them() -> None:
        await asyncio.gather(*(come() for _ in range(at_once)))

    async with in_background(all_of_them()):
        yield lambda: came
