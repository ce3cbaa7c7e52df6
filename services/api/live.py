"""Follow a session live: as server-sent events, or until it is what somebody waits for."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from sse_starlette import ServerSentEvent

from services.api.read import get_session, read_events
from shared.contracts.keys import NEWS_CHANNEL
from shared.contracts.sessions import TERMINAL
from shared.runtime.database import Database
from shared.runtime.hints import hints
from shared.runtime.tables import SessionRow

# A hint may be lost with its Redis; the database is asked again after this long anyway.
POLL_INTERVAL_S = 1.0


class Follower:
    """Wakes this process's subscribers when a hint names their session: one listener for all."""

    def __init__(self, *, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Listen for hints, for ever."""
        async for session_id in hints(self._redis, channel=NEWS_CHANNEL):
            for wake in self._waiting.get(session_id, ()):
                wake.set()

    async def follow(self, session_id: str, *, after: int) -> AsyncIterator[ServerSentEvent]:
        """Yield the session's events above `after`, and new ones as they come, until it is over."""
        with self._listening(session_id) as wake:
            while True:
                wake.clear()
                async with self._database.read() as db:
                    over = (await get_session(db, session_id)).status in TERMINAL
                    events = await read_events(db, session_id, after=after)
                for event in events:
                    after = event.sequence or after
                    data = event.model_dump_json(exclude_none=True)
                    yield ServerSentEvent(data=data, event=event.type, id=str(after))
                if over:
                    return
                await _wait(wake, POLL_INTERVAL_S)

    async def until(
        self, session_id: str, reached: Callable[[SessionRow], bool], *, timeout_s: float
    ) -> SessionRow:
        """Return the session once `reached` is true of it, or as it is when the time is over."""
        time = asyncio.get_running_loop().time
        ends = time() + timeout_s
        with self._listening(session_id) as wake:
            while True:
                wake.clear()
                async with self._database.read() as db:
                    row = await get_session(db, session_id)
                left = ends - time()
                if left <= 0 or reached(row):
                    return row
                await _wait(wake, min(left, POLL_INTERVAL_S))

    @contextmanager
    def _listening(self, session_id: str) -> Iterator[asyncio.Event]:
        """Have the event set whenever a hint names the session."""
        wake = asyncio.Event()
        self._waiting[session_id].add(wake)
        try:
            yield wake
        finally:
            self._waiting[session_id].discard(wake)
            if not self._waiting[session_id]:
                del self._waiting[session_id]


async def _wait(wake: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await wake.wait()
