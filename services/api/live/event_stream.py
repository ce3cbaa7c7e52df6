"""The answer that streams events; it ends if its client does not read."""

import socket
from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from services.api import metrics
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# How long to wait for a client whose buffers are full. A client that is cut off reconnects, and misses
# nothing.
SEND_TIMEOUT_S: Final = 10.0
# The server would wait forever until its buffer is read; the kernel gives up after this time.
UNREAD_TIMEOUT_S: Final = 20.0


class EventStream(EventSourceResponse):
    """Server-sent events. The stream ends if sending one takes longer than `SEND_TIMEOUT_S`."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], *, headers: dict[str, str]) -> None:
        super().__init__(events, send_timeout=SEND_TIMEOUT_S, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until one side ends the stream."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            metrics.follower_cut_off()
            log.warning("follower_cut_off", path=scope["path"])


def give_up_unread(listening: socket.socket, *, after_s: float = UNREAD_TIMEOUT_S) -> None:
    """Make the kernel close this socket's accepted connections if their peer takes nothing for so long."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))
