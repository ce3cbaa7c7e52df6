"""Follow a session live, as server-sent events."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from sse_starlette import ServerSentEvent

from services.api.read import get_session, read_events
from shared.contracts.sessions import TERMINAL
from shared.runtime.database import Database
from shared.runtime.hints import hints

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
        async for session_id in hints(self._redis):
            for wake in self._waiting.get(session_id, ()):
                wake.set()

    async def follow(self, session_id: str, *, after: int) -> AsyncIterator[ServerSentEvent]:
        """Yield the session's events above `after`, and new ones as they come, until it is over."""
        wake = asyncio.Event()
        self._waiting[session_id].add(wake)
        try:
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
                try:
                    async with asyncio.timeout(POLL_INTERVAL_S):
                        await wake.wait()
                except TimeoutError:
                    continue
        finally:
            self._waiting[session_id].discard(wake)
            if not self._waiting[session_id]:
                del self._waiting[session_id]
