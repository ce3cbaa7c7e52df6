"""What works and what doesn't, and why the next session would fail.

Every dependency is asked at the same time and under a limit, so that one that hangs delays nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from shared.contracts.causes import ADVICE, Cause
from shared.runtime.database import Database
from shared.runtime.livekit import LiveKit, LiveKitError
from shared.runtime.migrate import pending_migration
from shared.runtime.registry import Fleet, read_fleet
from shared.runtime.tables import SessionRow

CHECK_TIMEOUT_S = 2.0
_NO_SUCH_ROOM = "rollcall-health"


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


async def _check(ask: Callable[[], Awaitable[str | None]]) -> Check:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            fault = await ask()
    except Exception as error:
        output = f"no answer in {CHECK_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        return Check(False, output, time.perf_counter() - started, error)
    return Check(fault is None, fault, time.perf_counter() - started)


class Health:
    """Asks the database, Redis, LiveKit and the worker registry."""

    def __init__(self, *, database: Database, redis: Redis, livekit: LiveKit, agent_name: str) -> None:
        self._database = database
        self._redis = redis
        self._livekit = livekit
        self._agent_name = agent_name

    async def ready(self) -> Check:
        """Can a session be accepted? That takes the database, its schema up to date, and no more."""

        async def schema() -> str | None:
            missing = await pending_migration(self._database)
            return missing and f"migration {missing} is missing: run python -m shared.runtime.migrate"

        return await _check(schema)

    async def dependencies(self) -> dict[str, Check]:
        """Ask each dependency."""
        names = ("database", "redis", "livekit")
        return dict(
            zip(
                names,
                await asyncio.gather(self.ready(), _check(self._ping), _check(self._ask_livekit)),
                strict=True,
            )
        )

    async def agent(self) -> tuple[bool, dict[str, Any]]:
        """Would the next session get its agent? The answer, and why not."""
        fleet: Fleet | None = None

        async def read() -> None:
            nonlocal fleet
            fleet = await read_fleet(self._redis)

        livekit, registry, last_join = await asyncio.gather(
            _check(self._ask_livekit), _check(read), self._last_proven_join()
        )
        root_cause = [*self._livekit_causes(livekit), *self._registry_causes(registry, fleet)]
        workers = fleet.named(self._agent_name) if fleet else []
        body = {
            "agent_status": "livekit_connected" if livekit.ok else "livekit_disconnected",
            "agent_worker_info": {
                "agent_name": self._agent_name,
                "registered_workers": len(workers) if fleet else None,
                "free_slots": fleet.free_slots(self._agent_name) if fleet else None,
            },
            "last_proven_join": last_join and last_join.isoformat(),
            "root_cause": root_cause,
        }
        return not root_cause, body

    def _livekit_causes(self, check: Check) -> list[dict[str, Any]]:
        if check.ok:
            return []
        error = check.error
        cause = error.cause if isinstance(error, LiveKitError) else Cause.LIVEKIT_UNREACHABLE
        return [_root_cause(cause, {"error": check.output})]

    def _registry_causes(self, check: Check, fleet: Fleet | None) -> list[dict[str, Any]]:
        if fleet is None:
            return [_root_cause(Cause.QUEUE_STALLED, {"redis": check.output})]
        named = fleet.named(self._agent_name)
        if not named and fleet.names():
            return [_root_cause(Cause.AGENT_NAME_MISMATCH, {"names_seen": fleet.names()})]
        if not named:
            return [_root_cause(Cause.NO_WORKER_REGISTERED, {"agent_name": self._agent_name})]
        cause = fleet.why_full(self._agent_name)
        return [] if cause is None else [_root_cause(cause, {"workers": len(named)})]

    async def _ping(self) -> None:
        await self._redis.ping()

    async def _ask_livekit(self) -> None:
        await self._livekit.room_exists(_NO_SUCH_ROOM)

    async def _last_proven_join(self) -> datetime | None:
        newest = (
            select(col(SessionRow.active_at))
            .where(col(SessionRow.active_at).is_not(None))
            .order_by(col(SessionRow.id).desc())
            .limit(1)
        )
        async with self._database.read() as db:
            return await db.scalar(newest)


def _root_cause(cause: Cause, evidence: dict[str, Any]) -> dict[str, Any]:
    return {"code": cause, "evidence": evidence, "fix": ADVICE[cause]}
