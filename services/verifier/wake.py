"""Wake the task that waits for a session in this process, when a hint names the session."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from services.verifier import metrics
from shared.platform.redis.hints import hints


class Waker:
    """The sessions for which tasks wait, and the events that wake them."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}
        self._since: dict[str, float] = {}
        metrics.oldest_verification_told_by(self._oldest_s)

    async def listen(self, redis: Redis) -> None:
        """Wake on every hint, forever."""
        async for session_id in hints(redis):
            self.wake(session_id)

    def wake(self, session_id: str) -> bool:
        """End the wait for this session now; return False if no task here waits for it."""
        event = self._waiting.get(session_id)
        if event is not None:
            event.set()
        return event is not None

    @contextmanager
    def waiting_for(self, session_id: str) -> Iterator[asyncio.Event]:
        """Register a wait. Each hint sets the event, and the waiting task clears it."""
        event = self._waiting.setdefault(session_id, asyncio.Event())
        self._since.setdefault(session_id, time.monotonic())
        metrics.verifications_in_flight(len(self._waiting))
        try:
            yield event
        finally:
            self._waiting.pop(session_id, None)
            self._since.pop(session_id, None)
            metrics.verifications_in_flight(len(self._waiting))

    def _oldest_s(self) -> float:
        return time.monotonic() - min(self._since.values()) if self._since else 0.0


async def woken_within(woken: asyncio.Event, pause_s: float) -> bool:
    """Wait for a hint, for about `pause_s`; return whether one came."""
    try:
        async with asyncio.timeout(pause_s * random.uniform(0.9, 1.1)):  # noqa: S311
            await woken.wait()
    except TimeoutError:
        return False
    woken.clear()
    return True
