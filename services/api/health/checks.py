"""Check the dependencies: the database, Redis, LiveKit and others.

All dependencies are asked at the same time, each with a time limit, so that one that hangs delays no other.
While it hangs, it is not asked again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from shared.core.database_ready import unready
from shared.core.migrate import pending_migration
from shared.platform.database.database import Database
from shared.platform.livekit.client import NO_SUCH_ROOM, LiveKit

CHECK_TIMEOUT_S = 2.0
# Do not wait for a check that is slow to stop.
LOOK_TIMEOUT_S = CHECK_TIMEOUT_S + 0.25


@dataclass(frozen=True)
class Seen:
    """The content of an answer: a number with its unit, and a warning if the number is not right."""

    value: float | None
    unit: str
    warning: str | None = None


@dataclass(frozen=True)
class Check:
    """The outcome of asking one dependency."""

    ok: bool
    output: str | None
    seconds: float
    error: BaseException | None = None
    seen: Seen | None = None

    @property
    def status(self) -> str:
        """The status in the terms of health+json."""
        return ("pass" if self.output is None else "warn") if self.ok else "fail"

    def as_json(self, time: datetime) -> dict[str, Any]:
        """Return the check as health+json. The observed value is the latency, unless there is another one."""
        latency_ms = round(self.seconds * 1000, 1)
        seen = self.seen or Seen(latency_ms, "ms")
        body: dict[str, Any] = {
            "status": self.status,
            "observedValue": seen.value,
            "observedUnit": seen.unit,
            "latency_ms": latency_ms,
            "time": time.isoformat(),
        }
        return body if self.output is None else {**body, "output": self.output}


Ask = Callable[[], Awaitable[str | Seen | None]]


async def check(ask: Ask) -> Check:
    """Ask a dependency. The check fails if it reports a fault, raises, or does not answer in time."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            told = await ask()
    except Exception as error:
        output = f"no answer in {CHECK_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        return Check(False, output, time.perf_counter() - started, error)
    seconds = time.perf_counter() - started
    if isinstance(told, Seen):
        return Check(True, told.warning, seconds, seen=told)
    return Check(told is None, told, seconds)


async def ask_livekit(livekit: LiveKit) -> None:
    """Check LiveKit's address and our key with a call that changes nothing."""
    await livekit.room_exists(NO_SUCH_ROOM)


class Health:
    """Checks the database, Redis, LiveKit and `others`."""

    def __init__(
        self, *, database: Database, redis: Redis, livekit: LiveKit, others: Mapping[str, Ask]
    ) -> None:
        self._database = database
        self._redis = redis
        asks = {"database": self._schema, "redis": self._ping, "livekit": lambda: ask_livekit(livekit)}
        self._asks: dict[str, Ask] = {**asks, **others}
        self._asking: dict[str, asyncio.Task[Check]] = {}
        self._readying: asyncio.Task[Check] | None = None

    async def ready(self) -> Check:
        """Return whether a session can be accepted. That needs only the database, with an up-to-date schema.

        All requests meanwhile share one check: anybody may ask, and connections are needed for sessions.
        """
        if self._readying is None or self._readying.done():
            self._readying = asyncio.create_task(check(self._schema), name="health-ready")
        return await asyncio.shield(self._readying)

    async def dependencies(self) -> dict[str, Check]:
        """Ask each dependency."""
        for name, ask in self._asks.items():
            if name not in self._asking or self._asking[name].done():
                self._asking[name] = asyncio.create_task(check(ask), name=f"health-{name}")
        await asyncio.wait(self._asking.values(), timeout=LOOK_TIMEOUT_S)
        hangs = Check(False, f"no answer in {LOOK_TIMEOUT_S:g} s", LOOK_TIMEOUT_S)
        return {name: task.result() if task.done() else hangs for name, task in self._asking.items()}

    async def _schema(self) -> str | None:
        if told := await unready(self._database):
            return told
        missing = await pending_migration(self._database)
        return missing and f"migration {missing} is missing: run python -m shared.core.migrate"

    async def _ping(self) -> None:
        await self._redis.ping()
