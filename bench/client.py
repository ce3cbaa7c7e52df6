"""The two sides of every comparison: Rollcall over HTTP, and LiveKit's bare calls."""

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
from livekit import api
from prometheus_client.parser import text_string_to_metric_families

from bench.options import BenchFailed
from devstack.stack import Stack
from shared.contracts.keys import ENVELOPE_FIELD, EVENTS_STREAM
from shared.platform.background import stop_all
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE

CALL_TIMEOUT_S = 60.0
# The services that call LiveKit.
CALLERS = ("api", "dispatcher", "verifier")
FINAL = ("session.failed.v1", "session.ended.v1", "session.cancelled.v1")


@dataclass(frozen=True)
class Seen:
    """An event of a session, and when it happened in wall-clock seconds."""

    type: str
    at: float
    data: dict[str, Any]


class Feed:
    """Follows the event stream, and so learns about thousands of sessions without asking the API."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect_redis(redis_url)
        self._last = "0"
        self.events: dict[str, list[Seen]] = defaultdict(list)
        self.joined: asyncio.Queue[str] = asyncio.Queue()  # sessions, as their agents join
        self._news: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def run(self) -> None:
        """Follow forever."""
        while True:
            try:
                found: Any = await self._redis.xread({EVENTS_STREAM: self._last}, count=500, block=1000)
            except UNREACHABLE:
                await asyncio.sleep(0.2)
                continue
            for _, entries in found or []:
                for entry_id, fields in entries:
                    self._last = entry_id
                    self._take(json.loads(fields[ENVELOPE_FIELD]))

    def _take(self, envelope: dict[str, Any]) -> None:
        session_id = str(envelope["subject"]).partition("/")[2]
        at = datetime.fromisoformat(envelope["time"]).timestamp()
        self.events[session_id].append(Seen(envelope["type"], at, envelope["data"]))
        self._news[session_id].set()
        if envelope["type"] == "agent.joined.v1":
            self.joined.put_nowait(session_id)

    async def until(self, session_id: str, *types: str, after: int = 0, timeout_s: float) -> Seen:
        """Wait for one of these events, ignoring the first `after` events; raises `BenchFailed`."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for seen in self.events[session_id][after:]:
                        if seen.type in types:
                            return seen
                    self._news[session_id].clear()
                    await self._news[session_id].wait()
        except TimeoutError:
            had = ", ".join(seen.type for seen in self.events[session_id]) or "nothing"
            raise BenchFailed(
                f"session {session_id}: no {' or '.join(types)} in {timeout_s:g} s; it had {had}"
            ) from None

    def first(self, session_id: str, event_type: str) -> Seen | None:
        """Return the first event of this type so far."""
        return next((seen for seen in self.events[session_id] if seen.type == event_type), None)

    def forget(self, session_id: str) -> None:
        """Drop the events of this session."""
        self.events.pop(session_id, None)
        self._news.pop(session_id, None)

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


class Client:
    """The API of a stack."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession, feed: Feed) -> None:
        self.stack = stack
        self.feed = feed
        self._http = http

    async def start(self, **chosen: Any) -> dict[str, Any]:
        """Start a session; return the answer."""
        async with self._http.post(f"{self.stack.api_url}/v1/sessions", json=chosen) as response:
            if response.status != 202:
                raise BenchFailed(f"POST /v1/sessions: {response.status} {await response.text()}")
            answer: dict[str, Any] = await response.json()
            return answer

    async def end(self, session_id: str) -> None:
        """End a session; raises `BenchFailed` if the API would not."""
        async with self._http.delete(f"{self.stack.api_url}/v1/sessions/{session_id}") as response:
            if response.status != 200:
                raise BenchFailed(f"DELETE of {session_id}: {response.status} {await response.text()}")

    async def get(self, path: str) -> dict[str, Any]:
        """Read something."""
        async with self._http.get(f"{self.stack.api_url}{path}") as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def told(self, session_id: str, event_type: str) -> None:
        """Follow the session's events as a client does, until this event arrives."""
        url = f"{self.stack.api_url}/v1/sessions/{session_id}/events"
        async with self._http.get(url, headers={"Accept": "text/event-stream"}) as response:
            async for line in response.content:
                if line.strip() == f"event: {event_type}".encode():
                    return
        raise BenchFailed(f"session {session_id} ended before {event_type}")

    async def livekit_calls(self) -> dict[str, float]:
        """Return how many calls to LiveKit each of our processes has made."""
        calls = {}
        for name in CALLERS:
            variables = self.stack.process(name).spec.env
            port = variables["API_PORT"] if name == "api" else variables["PROBE_PORT"]
            async with self._http.get(f"http://127.0.0.1:{port}/metrics") as response:
                calls[name] = _livekit_calls(await response.text())
        return calls


def _livekit_calls(text: str) -> float:
    families = [f for f in text_string_to_metric_families(text) if f.name == "livekit_api_calls"]
    return sum(s.value for f in families for s in f.samples if s.name == "livekit_api_calls_total")


@asynccontextmanager
async def open_client(stack: Stack) -> AsyncIterator[Client]:
    """A client of a running stack."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    feed = Feed(stack.redis_url)
    following = asyncio.create_task(feed.run(), name="feed")
    try:
        # Shorter than the API's own, so that a connection that the API is closing is not used again.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            yield Client(stack, http, feed)
    finally:
        await stop_all([following])
        await feed.close()


class Bare:
    """LiveKit's own calls, as an application without Rollcall makes them."""

    def __init__(self, livekit: api.LiveKitAPI) -> None:
        self._livekit = livekit

    async def dispatch(self, room: str, agent_name: str) -> None:
        """Dispatch an agent to a room; create the room if it is missing."""
        request = api.CreateAgentDispatchRequest(agent_name=agent_name, room=room)
        await self._livekit.agent_dispatch.create_dispatch(request)

    async def create_room(self, room: str, agent_name: str) -> None:
        """Create a room together with its agent's dispatch."""
        agents = [api.RoomAgentDispatch(agent_name=agent_name)]
        await self._livekit.room.create_room(api.CreateRoomRequest(name=room, agents=agents))

    async def list_dispatches(self, room: str) -> None:
        """List the room's dispatches."""
        await self._livekit.agent_dispatch.list_dispatch(room)

    async def agents(self, room: str) -> list[api.ParticipantInfo]:
        """Return the agents that LiveKit lists in a room as ACTIVE."""
        found = await self._livekit.room.list_participants(api.ListParticipantsRequest(room=room))
        info = api.ParticipantInfo
        return [p for p in found.participants if p.kind == info.Kind.AGENT and p.state == info.State.ACTIVE]

    async def until_active(self, room: str, *, pause_s: float, timeout_s: float = 30.0) -> float:
        """Poll until the agent is ACTIVE; return when that was seen, in wall-clock seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.agents(room):
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            raise BenchFailed(f"no agent in the bare room {room} within {timeout_s:g} s") from None
        return time.time()

    async def delete_room(self, room: str) -> None:
        """Close a room, if it exists."""
        try:
            await self._livekit.room.delete_room(api.DeleteRoomRequest(room=room))
        except api.ServerError as error:
            if error.status != 404:
                raise


@asynccontextmanager
async def open_bare(stack: Stack) -> AsyncIterator[Bare]:
    """The bare calls to a stack's LiveKit server."""
    keys = (stack.livekit_api_key, stack.livekit_api_secret)
    async with api.LiveKitAPI(stack.livekit_url, *keys) as livekit:
        yield Bare(livekit)


def new_room() -> str:
    """Return a new name for a bare room."""
    return f"bare-{uuid.uuid4().hex}"
