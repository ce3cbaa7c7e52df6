"""The connections of our HTTP servers: fewer than there are file descriptors, and each with a time limit.

uvicorn and aiohttp wait without limit for the rest of a request, for a body, and for a client that does not
read its answer. This module checks each connection once a second from the outside: what the server waits for,
and since when. A late client gets an error answer, and its connection is closed. A request that is being
answered is never cut off, however long it takes: it may be an event stream, or an answer that waits for an
agent.

When all places are taken, the connections that the server has waited for longest are closed to make room.
"""

import asyncio
from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, cast

from prometheus_client import Counter, Gauge

from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
# asyncio accepts so many connections in one iteration of its loop. This module sees them two iterations
# later, when they already have descriptors. If descriptors run out, asyncio also tries so often, each time
# with a traceback.
TAKEN_AT_ONCE: Final = 4
# The fraction of connections that is closed at once to make room, because finding them means checking all.
_PART: Final = 16


class Wait(StrEnum):
    """What a connection waits for from its peer."""

    HEADER = "header"  # a first request, or the rest of one that has begun
    NEXT = "next_request"
    BODY = "body"
    READING = "reading"  # the peer does not read what there is to read
    CLOSING = "closing"  # the same, while the connection closes


class Awaited(NamedTuple):
    """What a connection waits for, and for which request. While both stay the same, it is the same wait."""

    wait: Wait
    request: object = None
    unanswered: bool = False


@dataclass(frozen=True)
class WaitLimits:
    """The limit in seconds for each kind of wait, as a whole: a byte now and then does not extend it."""

    header_s: float = 10.0
    next_request_s: float = 30.0
    body_s: float = 30.0
    reading_s: float = 30.0
    closing_s: float = 10.0

    def of(self, wait: Wait) -> float:
        """Return the limit in seconds."""
        return float(getattr(self, f"{wait}_s"))


@dataclass(frozen=True)
class Words:
    """The complete answers that are sent to late clients, and to clients for which there is no room."""

    late: bytes
    full: bytes


def closing_answer(status: str, body: bytes, content_type: str = "text/plain", *headers: str) -> bytes:
    """Return an answer that announces that the connection closes."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


PLAIN_WORDS: Final = Words(
    late=closing_answer("408 Request Timeout", b"the request did not come in time"),
    full=closing_answer("503 Service Unavailable", b"too many connections", "text/plain", "Retry-After: 1"),
)

_OPEN = Gauge("http_connections", "Open connections of callers.")
_CLOSED = Counter(
    "http_connections_closed_total",
    "Connections closed because the server waited too long, by what it waited for, or had too many.",
    ["why"],
)
_EVICTED: Final = "made_room"
_REFUSED: Final = "refused"
for _why in (*Wait, _EVICTED, _REFUSED):
    _CLOSED.labels(_why)


@dataclass(eq=False)
class Connections:
    """The connections of one listener, at most `most`."""

    most: int
    wait_limits: WaitLimits = field(default_factory=WaitLimits)
    words: Words = PLAIN_WORDS

    def __post_init__(self) -> None:
        """Start with no connection."""
        self._open: dict[Connection, None] = {}
        self._closed: Counts[str] = Counts()
        self._looking: asyncio.TimerHandle | None = None

    def of(self, inner: asyncio.Protocol, awaited: Callable[[], Awaited | None]) -> asyncio.Protocol:
        """Return the protocol of one connection, around the server's own.

        `awaited` returns None while it is busy.
        """
        return Connection(inner, awaited, self)

    def enter(self, connection: "Connection") -> bool:
        """Accept a new connection; return False if there is no room and none can be made."""
        if len(self._open) >= self.most and not self._close_the_longest_awaited():
            self.note(_REFUSED)
            return False
        self._open[connection] = None
        _OPEN.inc()
        self._look_later()
        return True

    def leave(self, connection: "Connection") -> None:
        """Forget a connection, even if it was already forgotten."""
        if connection in self._open:
            del self._open[connection]
            _OPEN.dec()

    def note(self, why: str) -> None:
        """Count a connection that we closed."""
        _CLOSED.labels(why).inc()
        if why != Wait.NEXT:  # connections usually end in this way
            self._closed[why] += 1
        self._look_later()

    def _close_the_longest_awaited(self) -> bool:
        waited_for = sorted(
            (one for one in self._open if one.look() is not None), key=lambda one: one.waited_since
        )
        evicted = waited_for[: max(1, self.most // _PART)]
        for one in evicted:
            self.note(_EVICTED)
            one.close(self.words.full)
        return bool(evicted)

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        for one in list(self._open):
            awaited = one.look()
            if awaited is not None and now - one.waited_since >= self.wait_limits.of(awaited.wait):
                self.note(awaited.wait)
                one.close(self.words.late)
        if self._closed:
            log.warning(
                "connections_closed",
                message="callers kept the server waiting, or there were too many connections",
                open=len(self._open),
                most=self.most,
                **self._closed,
            )
            self._closed.clear()
        if self._open:
            self._look_later()


class Connection(asyncio.Protocol):
    """The protocol between the socket and the server's own protocol."""

    def __init__(
        self, inner: asyncio.Protocol, awaited: Callable[[], Awaited | None], connections: Connections
    ) -> None:
        self._inner = inner
        self._awaits = awaited
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._entered = False
        self._pauses = 0
        self._paused = False
        self._awaited: Awaited | None = None
        self.waited_since = 0.0

    def look(self) -> Awaited | None:
        """Update what the connection waits for, and `waited_since`."""
        awaited = self._now_awaited()
        if awaited is None or self._awaited is None or awaited[:2] != self._awaited[:2]:
            self.waited_since = asyncio.get_running_loop().time()
        self._awaited = awaited
        return awaited

    def close(self, answer: bytes) -> None:
        """Close the connection, after an answer if one is still possible."""
        self._connections.leave(self)
        transport, awaited = self._transport, self._awaited
        if transport is None:
            return
        if awaited is not None and awaited.unanswered and not transport.is_closing():
            transport.write(answer)
        # Drop unread data: a peer that does not read must not keep the descriptor open.
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

    def carry(self, inner: asyncio.BaseProtocol) -> None:
        """Pass everything to another protocol from now on, which waits for its peer as long as it likes."""
        self._inner = cast("asyncio.Protocol", inner)
        self._awaits = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._entered = self._connections.enter(self)
        if not self._entered:
            self._awaited = Awaited(Wait.HEADER, unanswered=True)
            self.close(self._connections.words.full)
            return
        self._inner.connection_made(transport)
        self.look()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._entered:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        return self._inner.eof_received() if self._entered else None

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused, self._pauses = True, self._pauses + 1
        if self._entered:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        if self._entered:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.leave(self)
        if self._entered:
            self._inner.connection_lost(exc)

    def _now_awaited(self) -> Awaited | None:
        if self._transport is None or self._transport.is_closing():
            return Awaited(Wait.CLOSING)
        if self._paused:
            return Awaited(Wait.READING, self._pauses)
        return self._awaits()
