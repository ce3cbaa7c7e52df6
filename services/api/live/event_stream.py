"""The answer that streams events: it ends when its reader does not read."""

import socket
from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from services.api import metrics
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# A reader whose buffers are full is waited for so long. Who is cut off comes back, and misses nothing.
SEND_TIMEOUT_S: Final = 10.0
# The server would wait for ever until what is in its buffer is read; the kernel doesn't.
UNREAD_TIMEOUT_S: Final = 20.0


class EventStream(EventSourceResponse):
    """Server-sent events, each sent in `SEND_TIMEOUT_S` or not at all."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], *, headers: dict[str, str]) -> None:
        super().__init__(events, send_timeout=SEND_TIMEOUT_S, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until one side is done."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            metrics.follower_cut_off()
            log.warning("follower_cut_off", path=scope["path"])


def give_up_unread(listening: socket.socket, *, after_s: float = UNREAD_TIMEOUT_S) -> None:
    """Have connections closed whose peer takes nothing for so long; all that this socket accepts."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))
