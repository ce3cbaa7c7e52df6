"""Would the next session get its agent, and if not, why: what can be known without trying.

Asked again every two seconds, so that each cause tells since when it has been there.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from services.api.findings import Finding, read_findings
from services.api.health import Check, ask_livekit, check
from services.api.records import Records, read_records
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.workers import WorkerFault, WorkerHeartbeat
from shared.runtime.clock import Clock
from shared.runtime.database import UNREACHABLE, Database
from shared.runtime.livekit import LiveKit, LiveKitError
from shared.runtime.logs import get_logger
from shared.runtime.registry import Fleet, read_fleet

log = get_logger(__name__)

INTERVAL_S = 2.0


@dataclass(frozen=True)
class RootCause:
    """Why the next session will fail (`fatal`) or may. `since` None: since it was first seen."""

    cause: Cause
    evidence: dict[str, Any]
    fatal: bool = True
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """As an operator reads it."""
        return {
            "code": self.cause,
            "fatal": self.fatal,
            "since": self.since and self.since.isoformat(),
            "evidence": self.evidence,
            "fix": ADVICE[self.cause],
        }


@dataclass(frozen=True)
class Outlook:
    """What is known of the next session's chances. `fleet` None: the registry can't be read."""

    agent_name: str
    livekit: Check
    fleet: Fleet | None
    records: Records
    root_causes: list[RootCause] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True unless something is known for which the next session will fail."""
        return not any(found.fatal for found in self.root_causes)

    def as_json(self) -> dict[str, Any]:
        """The body of /health/agent."""
        joined, canary = self.records.last_join, self.records.canary
        return {
            "agent_status": "livekit_connected" if self.livekit.ok else "livekit_disconnected",
            "agent_worker_info": {
                "agent_name": self.agent_name,
                "registered_workers": len(self.fleet.named(self.agent_name)) if self.fleet else None,
                "free_slots": self.fleet.free_slots(self.agent_name) if self.fleet else None,
            },
            "last_proven_join": joined and joined.isoformat(),
            "last_canary": canary and canary.as_json(),
            "root_cause": [found.as_json() for found in self.root_causes],
            "findings": [found.as_json() for found in self.findings],
        }


class Forecast:
    """Looks at LiveKit, the registry and what became of the last sessions."""

    def __init__(
        self, *, database: Database, redis: Redis, livekit: LiveKit, agent_name: str, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._livekit = livekit
        self._agent_name = agent_name
        self._now = now
        self._since: dict[Cause, datetime] = {}

    async def run(self) -> None:
        """Look for ever, to know since when."""
        while True:
            try:
                await self.look()
            except UNREACHABLE as error:
                log.debug("forecast_interrupted", error=repr(error))
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> Outlook:
        """Look now. A database that can't be read raises; anything else that is away is a root cause."""
        fleet: Fleet | None = None

        async def registry() -> None:
            nonlocal fleet
            fleet = await read_fleet(self._redis)

        now = self._now()
        livekit, redis, records, findings = await asyncio.gather(
            check(lambda: ask_livekit(self._livekit)),
            check(registry),
            read_records(self._database, agent_name=self._agent_name, now=now),
            read_findings(self._database, now=now),
        )
        found = [
            *_livekit_causes(livekit),
            *_registry_causes(self._agent_name, redis, fleet),
            *_fault_causes(fleet.named(self._agent_name) if fleet else []),
            *_record_causes(records),
        ]
        return Outlook(self._agent_name, livekit, fleet, records, self._dated(found, now), findings)

    def _dated(self, found: Iterable[RootCause], now: datetime) -> list[RootCause]:
        """Each cause once, with the time since when it is seen without a break."""
        dated: dict[Cause, RootCause] = {}
        for root in found:
            since = root.since or self._since.get(root.cause, now)
            dated.setdefault(root.cause, replace(root, since=since))
        self._since = {cause: root.since or now for cause, root in dated.items()}
        return list(dated.values())


def _livekit_causes(livekit: Check) -> list[RootCause]:
    if livekit.ok:
        return []
    error = livekit.error
    cause = error.cause if isinstance(error, LiveKitError) else Cause.LIVEKIT_UNREACHABLE
    return [RootCause(cause, {"error": livekit.output})]


def _registry_causes(agent_name: str, redis: Check, fleet: Fleet | None) -> list[RootCause]:
    if fleet is None:
        return [RootCause(Cause.QUEUE_STALLED, {"redis": redis.output})]
    none = fleet.why_none(agent_name)
    return [] if none is None else [RootCause(*none)]


def _fault_causes(workers: list[WorkerHeartbeat]) -> list[RootCause]:
    """What workers have found wrong with themselves: fatal if the next job can only go to such a one."""
    free = [worker for worker in workers if worker.free_slots]
    fatal = bool(free) and all(worker.faults for worker in free)
    by_cause: dict[Cause, list[tuple[WorkerHeartbeat, WorkerFault]]] = {}
    for worker in workers:
        for fault in worker.faults:
            by_cause.setdefault(fault.cause, []).append((worker, fault))
    return [
        RootCause(
            cause,
            {
                "workers": [
                    {"worker_id": w.worker_id, "host": w.host, "detail": f.detail} for w, f in faulty
                ],
                "workers_registered": len(workers),
            },
            fatal=fatal,
            since=min(fault.since for _, fault in faulty),
        )
        for cause, faulty in by_cause.items()
    ]


def _record_causes(records: Records) -> list[RootCause]:
    found = []
    if records.stalled:
        evidence = {"sessions": records.stalled, "oldest_requested_at": str(records.stalled_since)}
        found.append(RootCause(Cause.QUEUE_STALLED, evidence, since=records.stalled_since))
    canary = records.canary
    if canary is not None and canary.cause is not None and not records.joined_since_canary:
        evidence = {"canary": canary.session_id, **canary.evidence}
        found.append(RootCause(canary.cause, evidence, since=canary.at))
    return found
