"""What works and what doesn't.

Every dependency is asked at the same time and under a limit, so that one that hangs delays nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from shared.runtime.database import Database
from shared.runtime.livekit import NO_SUCH_ROOM, LiveKit
from shared.runtime.migrate import pending_migration

CHECK_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Check:
    """The outcome of asking one dependency."""

    ok: bool
    output: str | None
    seconds: float
    error: BaseException | None = None

    def as_json(self, time: datetime) -> dict[str, Any]:
        """In the shape of health+json."""
        body: dict[str, Any] = {
            "status": "pass" if self.ok else "fail",
            "observedValue": round(self.seconds * 1000, 1),
            "observedUnit": "ms",
            "time": time.isoformat(),
        }
        return body if self.output is None else {**body, "output": self.output}


async def check(ask: Callable[[], Awaitable[str | None]]) -> Check:
    """Ask, and take a fault that it tells, or raises, or no answer in time for a no."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            fault = await ask()
    except Exception as error:
        output = f"no answer in {CHECK_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        return Check(False, output, time.perf_counter() - started, error)
    return Check(fault is None, fault, time.perf_counter() - started)


async def ask_livekit(livekit: LiveKit) -> None:
    """Prove LiveKit's address and our key with a call that changes nothing."""
    await livekit.room_exists(NO_SUCH_ROOM)


class Health:
    """Asks the database, Redis and LiveKit."""

    def __init__(self, *, database: Database, redis: Redis, livekit: LiveKit) -> None:
        self._database = database
        self._redis = redis
        self._livekit = livekit

    async def ready(self) -> Check:
        """Can a session be accepted? That takes the database, its schema up to date, and no more."""

        async def schema() -> str | None:
            missing = await pending_migration(self._database)
            return missing and f"migration {missing} is missing: run python -m shared.runtime.migrate"

        return await check(schema)

    async def dependencies(self) -> dict[str, Check]:
        """Ask each dependency."""
        asked = {
            "database": self.ready(),
            "redis": check(self._ping),
            "livekit": check(lambda: ask_livekit(self._livekit)),
        }
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _ping(self) -> None:
        await self._redis.ping()
