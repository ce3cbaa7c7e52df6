"""The connections of an HTTP server of ours: fewer than there are file descriptors, and none for good.

uvicorn and aiohttp wait without end for a request that has begun, for a body, and for somebody who does
not read what he asked for. Here each connection is looked at once a second, from the outside: what is
waited for, and since when. What is late is told so and closed. A request that is being answered is left in
peace, however long that takes: an event stream, or an answer that waits for an agent.

Where there are as many connections as there may be, those that have been waited for longest make room.
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
# asyncio takes so many connections in one turn of its loop; they are known here two turns later, and have
# descriptors by then. It also tries so often, with a traceback each time, where there are no more of these.
TAKEN_AT_ONCE: Final = 4
# As many connections make room at once as this part of all: to find them takes a look at every one.
_PART: Final = 16


class Wait(StrEnum):
    """What of its peer a connection waits for."""

    HEADER = "header"  # of a first request, or the rest of one that has begun
    NEXT = "next_request"
    BODY = "body"
    READING = "reading"  # there is something to read, and it is not read
    CLOSING = "closing"  # the same, of a connection that is over


class Awaited(NamedTuple):
    """What is waited for, and of which request: while both stay the same, it is the same wait."""

    wait: Wait
    request: object = None
    unanswered: bool = False


@dataclass(frozen=True)
class WaitLimits:
    """For how many seconds each is waited for, in all: a byte now and then makes it no longer."""

    header_s: float = 10.0
    next_request_s: float = 30.0
    body_s: float = 30.0
    reading_s: float = 30.0
    closing_s: float = 10.0

    def of(self, wait: Wait) -> float:
        """The seconds."""
        return float(getattr(self, f"{wait}_s"))


@dataclass(frozen=True)
class Words:
    """What is sent to who is late, and to who finds no room; whole answers."""

    late: bytes
    full: bytes


def closing_answer(status: str, body: bytes, content_type: str = "text/plain", *headers: str) -> bytes:
    """An answer after which the connection is closed."""
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

_OPEN = Gauge("http_connections", "Connections of callers that are open.")
_CLOSED = Counter(
    "http_connections_closed_total",
    "Connections closed since they were waited for too long, by what for, or since there were too many.",
    ["why"],
)
_EVICTED: Final = "made_room"
_REFUSED: Final = "refused"
for _why in (*Wait, _EVICTED, _REFUSED):
    _CLOSED.labels(_why)


@dataclass(eq=False)
class Connections:
    """Those of one listener, which has at most `most`."""

    most: int
    wait_limits: WaitLimits = field(default_factory=WaitLimits)
    words: Words = PLAIN_WORDS

    def __post_init__(self) -> None:
        """Begin with no connection."""
        self._open: dict[Connection, None] = {}
        self._closed: Counts[str] = Counts()
        self._looking: asyncio.TimerHandle | None = None

    def of(self, inner: asyncio.Protocol, awaited: Callable[[], Awaited | None]) -> asyncio.Protocol:
        """The protocol of one connection, around the server's own. `awaited`: None while it is busy."""
        return Connection(inner, awaited, self)

    def enter(self, connection: "Connection") -> bool:
        """Take a new connection; False if there is no room, and none can be made."""
        if len(self._open) >= self.most and not self._close_the_longest_awaited():
            self.note(_REFUSED)
            return False
        self._open[connection] = None
        _OPEN.inc()
        self._look_later()
        return True

    def leave(self, connection: "Connection") -> None:
        """Forget a connection. It may have been forgotten already."""
        if connection in self._open:
            del self._open[connection]
            _OPEN.dec()

    def note(self, why: str) -> None:
        """Count one that was closed by us."""
        _CLOSED.labels(why).inc()
        if why != Wait.NEXT:  # that is how connections end
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
                message="callers kept connections waiting, or there were too many of them",
                open=len(self._open),
                most=self.most,
                **self._closed,
            )
            self._closed.clear()
        if self._open:
            self._look_later()


class Connection(asyncio.Protocol):
    """Between the socket and the server's protocol."""

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
        """What is waited for now; since when is then in `waited_since`."""
        awaited = self._now_awaited()
        if awaited is None or self._awaited is None or awaited[:2] != self._awaited[:2]:
            self.waited_since = asyncio.get_running_loop().time()
        self._awaited = awaited
        return awaited

    def close(self, answer: bytes) -> None:
        """Give the connection up, with an answer where one can still be given."""
        self._connections.leave(self)
        transport, awaited = self._transport, self._awaited
        if transport is None:
            return
        if awaited is not None and awaited.unanswered and not transport.is_closing():
            transport.write(answer)
        # What is left unread is nobody's business any more: a peer must not keep the descriptor by that.
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

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
