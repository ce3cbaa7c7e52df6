"""Follow a session by the API's server-sent events, and reconnect after any break."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse
from pydantic import ValidationError

from cli.client.answers import Caption, Turn
from cli.client.errors import ApiError
from cli.client.show_error import error_of
from shared.contracts.events import Envelope, TurnFinished

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0
# The API sends a comment every 15 s: a connection that is quiet for three of them is dead.
SILENCE_S: Final = 50.0
_LATER: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT, *(s for s in HTTPStatus if s >= 500)}
)


@dataclass(frozen=True)
class News:
    """An event, a finished turn, or a caption.

    `id` is where to continue after it; None for a caption, which is never repeated.
    """

    id: str | None
    what: Envelope | Turn | Caption


async def follow(http: httpx.AsyncClient, path: str, *, after: str | None = None) -> AsyncIterator[News]:
    """Yield the news of one session until it is over; raises `ApiError` if the API refuses."""
    delay = 0.0
    while True:
        try:
            async for sent in _connected(http, path, after):
                delay = 0.0
                if (news := read_news(sent)) is not None:
                    yield news
                after = sent.id or after
        except _Over:
            return
        except (httpx.HTTPError, SSEError):
            pass  # it continues where it broke off
        await asyncio.sleep(delay)
        delay = min(max(FIRST_DELAY_S, 2 * delay), LONGEST_DELAY_S)


class _Over(Exception):
    """The API has nothing more to send."""


async def _connected(http: httpx.AsyncClient, path: str, after: str | None) -> AsyncIterator[ServerSentEvent]:
    headers = {"Last-Event-ID": after} if after else {}
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    async with aconnect_sse(http, "GET", path, headers=headers, timeout=timeout) as source:
        response = source.response
        if response.status_code == HTTPStatus.NO_CONTENT:
            raise _Over
        if response.is_error:
            await response.aread()
            if response.status_code in _LATER:
                response.raise_for_status()
            raise error_of("GET", path, response)
        if "text/event-stream" not in response.headers.get("content-type", ""):
            raise ApiError(f"GET {path}: the answer is not a stream of events; is this Rollcall's API?")
        async for sent in source.aiter_sse():
            yield sent


def read_news(sent: ServerSentEvent) -> News | None:
    """Parse one server-sent event; None if its type is unknown."""
    with suppress(ValueError, ValidationError, AttributeError):
        data: dict[str, Any] = json.loads(sent.data)
        body = data["data"] if "specversion" in data else data
        if sent.event == TurnFinished.type:
            return News(sent.id or None, Turn.model_validate({"id": body.get("item_id", ""), **body}))
        if sent.event.startswith("transcript."):
            return News(None, Caption.model_validate(body))
        return News(sent.id or None, Envelope.model_validate(data))
    return None
