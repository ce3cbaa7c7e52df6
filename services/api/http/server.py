"""uvicorn, with a limit to every wait for a caller (`shared/platform/http/connections.py`)."""

import json
import socket
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.api.errors.problems import MEDIA_TYPE, Problem, bare
from shared.contracts.agent_calls import MAX_FRAME_BYTES
from shared.platform.descriptors import most_callers
from shared.platform.http.connections import (
    TAKEN_AT_ONCE,
    Awaited,
    Connection,
    Connections,
    Wait,
    WaitLimits,
    Words,
    closing_answer,
)
from shared.platform.http.listen import BACKLOG

# Longer than proxies keep an idle connection (60 s is usual). Otherwise a proxy could send a request into a
# connection that we are closing, and its client would get a 502.
KEEP_ALIVE_S: Final = 75
# uvicorn closes idle connections; those that it has not closed by then are cut off.
WAIT_LIMITS: Final = WaitLimits(next_request_s=KEEP_ALIVE_S + 5)


class Server(uvicorn.Server):
    """Accepts a few connections at a time, while more may wait in the kernel."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(BACKLOG)


def server_config(
    app: FastAPI, *, max_connections: int, wait_limits: WaitLimits = WAIT_LIMITS, grace_s: int = 3
) -> uvicorn.Config:
    """Return uvicorn's configuration.

    `grace_s` is the time that requests get when the process is told to stop.
    """
    connections = Connections(most_callers(max_connections), wait_limits, _words())
    return uvicorn.Config(
        app,
        http=_protocols(connections),  # type: ignore[arg-type]  # it is only ever called
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        backlog=TAKEN_AT_ONCE,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def _protocols(connections: Connections) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        protocol = _Protocol(**options)
        return connections.of(protocol, lambda: _awaited(protocol))

    return make


class _Protocol(H11Protocol):
    """Keeps `Connection` around the connection when it becomes a WebSocket, where uvicorn would drop it."""

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """See `H11Protocol`."""
        around = self.transport.get_protocol()
        super().handle_websocket_upgrade(event)
        if isinstance(around, Connection):
            around.carry(self.transport.get_protocol())
            self.transport.set_protocol(around)


def _awaited(protocol: H11Protocol) -> Awaited | None:
    theirs, cycle = protocol.conn.their_state, protocol.cycle
    if theirs is h11.IDLE:
        begun = cycle is None or bool(protocol.conn.trailing_data[0])
        return Awaited(Wait.HEADER if begun else Wait.NEXT, cycle, unanswered=begun)
    if theirs is h11.SEND_BODY and not protocol.flow.read_paused:
        return Awaited(Wait.BODY, cycle, unanswered=not cycle.response_started)
    return None


def _words() -> Words:
    late = Problem(408, "request_too_slow", "the request did not come in time; send it again")
    full = Problem(503, "too_many_connections", "there are too many connections; try again in a second")
    return Words(
        late=closing_answer("408 Request Timeout", json.dumps(bare(late)).encode(), MEDIA_TYPE),
        full=closing_answer(
            "503 Service Unavailable", json.dumps(bare(full)).encode(), MEDIA_TYPE, "Retry-After: 1"
        ),
    )
