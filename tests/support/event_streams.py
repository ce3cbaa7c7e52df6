"""Read an event stream as an EventSource does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.integration.background import in_background
from tests.stack_fixtures.waiting import eventually


@dataclass(frozen=True)
class Received:
    """One event of a stream; `id` is None if it has none."""

    id: str | None
    type: str
    data: dict[str, Any]
    at: float = field(default_factory=time.time, compare=False)

    @property
    def text(self) -> str:
        """What was said."""
        return str(self.data["data"]["text"])


@dataclass
class Stream:
    """The stream's events so far. `over` is set once the server has ended the stream."""

    received: list[Received] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.received]

    @property
    def turns(self) -> list[int]:
        """The sequence numbers of the turns, in the order in which they came."""
        return [e.data["data"]["seq"] for e in self.received if e.type == "transcript.turn_finished.v1"]

    @property
    def captions(self) -> list[Received]:
        return [e for e in self.received if e.type == "transcript.caption_changed.v1"]

    @property
    def last_id(self) -> str:
        return [event.id for event in self.received if event.id is not None][-1]

    async def until(self, condition: Callable[["Stream"], bool]) -> None:
        await eventually(lambda: condition(self))


@asynccontextmanager
async def following(
    client: httpx.AsyncClient,
    session_id: str,
    last_event_id: str | None = None,
    *,
    key: dict[str, str] | None = None,
) -> AsyncIterator[Stream]:
    """Follow a session while the block runs."""
    async with reading_stream(client, f"/v1/sessions/{session_id}/events", last_event_id, key=key) as stream:
        yield stream


@asynccontextmanager
async def reading_stream(
    client: httpx.AsyncClient,
    path: str,
    last_event_id: str | None = None,
    *,
    key: dict[str, str] | None = None,
) -> AsyncIterator[Stream]:
    """Read the stream at `path` while the block runs."""
    stream = Stream()
    headers = {"accept": "text/event-stream", **(key or {})}
    if last_event_id is not None:
        headers["last-event-id"] = last_event_id

    async def read() -> None:
        async with client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async for event in parsed(response.aiter_lines()):
                stream.received.append(event)
        stream.over.set()

    async with in_background(read()) as reading:
        yield stream
        if reading.done():
            reading.result()


async def read_to_end(client: httpx.AsyncClient, session_id: str, last_event_id: str | None = None) -> Stream:
    """Return all events until the server ends the stream; none if the server has no more."""
    headers = {"accept": "text/event-stream"}
    if last_event_id is not None:
        headers["last-event-id"] = last_event_id
    response = await client.get(f"/v1/sessions/{session_id}/events", headers=headers)
    assert response.status_code in (200, 204), response.text

    async def lines() -> AsyncIterator[str]:
        for line in response.text.split("\r\n"):
            yield line

    return Stream([event async for event in parsed(lines())])


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Received]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Received(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}
