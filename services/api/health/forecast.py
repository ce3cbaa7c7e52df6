"""Forecast whether the next session would get its agent, and if not, why, without starting one.

A loop repeats it every two seconds, so that each cause has the time since when it exists.
"""

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from redis.asyncio import Redis

from services.api.health.checks import Check, ask_livekit, check
from services.api.health.findings import Finding, read_findings
from services.api.health.pools import pools_as_json, read_shares, why_shares_fail
from services.api.health.recent_sessions import Records, read_names, read_records
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.workers import WorkerFault, WorkerHeartbeat
from shared.core.workers.registry import Fleet, read_fleet
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.livekit.client import LiveKit, LiveKitError
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

INTERVAL_S = 2.0
RECENTLY = timedelta(days=1)
# Causes that only mean that no worker is registered under the name.
NOBODY = frozenset({Cause.NO_WORKER_REGISTERED, Cause.AGENT_NAME_MISMATCH})


@dataclass(frozen=True)
class RootCause:
    """Why the next session will fail (`fatal`) or may fail.

    `since` is None if only the forecast can date it.
    """

    cause: Cause
    evidence: dict[str, Any]
    fatal: bool = True
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as in /health/agent."""
        return {
            "code": self.cause,
            "fatal": self.fatal,
            "since": self.since and self.since.isoformat(),
            "evidence": self.evidence,
            "fix": ADVICE[self.cause],
        }


class Known(StrEnum):
    """How Rollcall knows that workers serve an agent's name."""

    REGISTERED = "registered"  # a worker that reports to us is registered under it
    # no such worker; but an agent of a worker that doesn't report joined within the last day
    PROVEN = "proven"
    UNPROVEN = "unproven"  # the same, but longer ago, and nothing has failed since
    UNKNOWN = "unknown"  # nothing is known about it, or its last session failed


@dataclass(frozen=True)
class Outlook:
    """What is known about the next session's chances.

    `fleet` is None if the registry can't be read. `shares` is each pool's percentage of sessions that name
    no pool. `others` are the outlooks of all other relevant names, if they were requested.
    """

    agent_name: str
    livekit: Check
    fleet: Fleet | None
    records: Records
    root_causes: list[RootCause] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    known: Known = Known.UNKNOWN
    shares: Mapping[str, int] = field(default_factory=dict)
    others: list["Outlook"] | None = None

    @property
    def ok(self) -> bool:
        """True unless there is a known reason for which the next session will fail."""
        return not any(found.fatal for found in self.root_causes)

    def as_json(self) -> dict[str, Any]:
        """Return the body of /health/agent."""
        joined, canary = self.records.join, self.records.canary
        return {
            "agent_status": "livekit_connected" if self.livekit.ok else "livekit_disconnected",
            "agent_worker_info": {
                "agent_name": self.agent_name,
                "registered_workers": len(self.fleet.named(self.agent_name)) if self.fleet else None,
                "free_slots": self.fleet.free_slots(self.agent_name) if self.fleet else None,
            },
            "status": self.status,
            "known": self.known,
            "summary": self.summary,
            "last_proven_join": joined and joined.at.isoformat(),
            "last_canary": canary and canary.as_json(),
            "pools": None if self.fleet is None else pools_as_json(self.fleet, self.agent_name, self.shares),
            "root_cause": [found.as_json() for found in self.root_causes],
            "findings": [found.as_json() for found in self.findings],
            "agents": None if self.others is None else [each.in_short() for each in (self, *self.others)],
            "look_at": self._look_at(),
        }

    @property
    def status(self) -> str:
        """The status in the terms of health+json: `fail` if the next session will fail, `warn` if it may."""
        if not self.ok:
            return "fail"
        return "pass" if self.known in (Known.REGISTERED, Known.PROVEN) and not self.root_causes else "warn"

    @property
    def summary(self) -> str:
        """The outlook in a sentence."""
        at = self.records.join.at.isoformat(timespec="seconds") if self.records.join else None
        proven = f"last proven join at {at}" if at else "no proven join yet"
        fatal = next((found.cause for found in self.root_causes if found.fatal), None)
        if fatal is not None:
            return f"the next session of {self.agent_name} would fail: {fatal}; {proven}"
        if self.known is Known.REGISTERED and self.fleet is not None:
            count = len(self.fleet.named(self.agent_name))
            return f"{count} registered, {self.fleet.free_slots(self.agent_name)} free slots; {proven}"
        return f"not known to the registry; {proven}"

    def in_short(self) -> dict[str, Any]:
        """Return the line of the overview."""
        joined = self.records.join
        return {
            "agent_name": self.agent_name,
            "status": self.status,
            "known": self.known,
            "summary": self.summary,
            "registered_workers": len(self.fleet.named(self.agent_name)) if self.fleet else None,
            "free_slots": self.fleet.free_slots(self.agent_name) if self.fleet else None,
            "last_proven_join": joined and joined.at.isoformat(),
            "causes": [found.cause for found in self.root_causes],
        }

    def _look_at(self) -> dict[str, str]:
        of_name = f"/v1/sessions?{urlencode({'agent_name': self.agent_name})}"
        return {
            "workers": "/v1/workers",
            "sessions": of_name,
            "failures": f"{of_name}&status=failed",
            "dependencies": "/health",
            "try_it": f"rollcall canary --agent {shlex.quote(self.agent_name)}",
            "runbook": "docs/runbook.md",
        }


class Forecast:
    """Reads LiveKit, the registry and the outcomes of recent sessions."""

    def __init__(
        self, *, database: Database, redis: Redis, livekit: LiveKit, agent_name: str, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._livekit = livekit
        self._agent_name = agent_name
        self._now = now
        self._since: dict[Cause, datetime] = {}  # for the default name

    async def run(self) -> None:
        """Look repeatedly, forever, so that each cause can be dated."""
        while True:
            try:
                await self.make_outlook()
            except DATABASE_ERRORS as error:
                log.debug("forecast_interrupted", error=repr(error))
            await asyncio.sleep(INTERVAL_S)

    async def survey(self) -> Outlook:
        """Look at the default name, and at every name that is registered or was requested within a day."""
        outlook = await self.make_outlook()
        names = set(await read_names(self._database, since=self._now() - RECENTLY))
        names |= set(outlook.fleet.names()) if outlook.fleet else set()
        others = [await self._judge(name, outlook) for name in sorted(names - {self._agent_name})]
        if outlook.ok or outlook.records.wanted or not any(each.known is Known.PROVEN for each in others):
            return replace(outlook, others=others)
        # No session has ever requested the default name, and the requested names are served.
        idle = [
            replace(found, fatal=found.fatal and found.cause not in NOBODY) for found in outlook.root_causes
        ]
        return replace(outlook, root_causes=idle, others=others)

    async def _judge(self, agent_name: str, seen: Outlook) -> Outlook:
        """Return another name's outlook, from the state of LiveKit and the registry."""
        now = self._now()
        records = await read_records(self._database, agent_name=agent_name, now=now)
        shares = await read_shares(self._database, agent_name)
        bare = Outlook(agent_name, seen.livekit, seen.fleet, records, shares=shares)
        return self._judged(bare, "the registry can't be read", now)

    async def make_outlook(self, agent_name: str | None = None) -> Outlook:
        """Return the outlook of one name now, by default LIVEKIT_AGENT_NAME.

        Raises if the database can't be read. Any other dependency that is down is a root cause.
        """
        name = agent_name or self._agent_name
        fleet: Fleet | None = None

        async def registry() -> None:
            nonlocal fleet
            fleet = await read_fleet(self._redis)

        now = self._now()
        livekit, redis, records, findings, shares = await asyncio.gather(
            check(lambda: ask_livekit(self._livekit)),
            check(registry),
            read_records(self._database, agent_name=name, now=now),
            read_findings(self._database, now=now),
            read_shares(self._database, name),
        )
        seen = Outlook(name, livekit, fleet, records, findings=findings, shares=shares)
        return self._judged(seen, redis.output, now)

    def _judged(self, seen: Outlook, redis_fault: str | None, now: datetime) -> Outlook:
        """Return the outlook with its root causes."""
        name, fleet = seen.agent_name, seen.fleet
        found = [
            *_livekit_causes(seen.livekit),
            *_registry_causes(name, redis_fault, fleet, seen),
            *_fault_causes(fleet.named(name) if fleet else []),
            *_record_causes(seen.records),
        ]
        dated = self._dated(found, now, is_default=name == self._agent_name)
        return replace(seen, root_causes=dated, known=_known(name, fleet, seen.records, now))

    def _dated(self, found: Iterable[RootCause], now: datetime, *, is_default: bool) -> list[RootCause]:
        """Return each cause once, with the time since when it exists without a break.

        The loop looks only at the default name, so causes of other names are dated from this request.
        """
        known = self._since if is_default else {}
        dated: dict[Cause, RootCause] = {}
        for root in found:
            since = root.since or known.get(root.cause, now)
            dated.setdefault(root.cause, replace(root, since=since))
        if is_default:
            self._since = {cause: root.since or now for cause, root in dated.items()}
        return list(dated.values())


def _livekit_causes(livekit: Check) -> list[RootCause]:
    if livekit.ok:
        return []
    error = livekit.error
    cause = error.cause if isinstance(error, LiveKitError) else Cause.LIVEKIT_UNREACHABLE
    return [RootCause(cause, {"error": livekit.output})]


def _registry_causes(
    agent_name: str, redis_fault: str | None, fleet: Fleet | None, seen: Outlook
) -> list[RootCause]:
    records = seen.records
    if fleet is None:
        return [RootCause(Cause.QUEUE_STALLED, {"redis": redis_fault})]
    none = fleet.why_none(agent_name)
    if none is None:
        return [RootCause(*found) for found in why_shares_fail(fleet, agent_name, seen.shares)]
    if agent_name in fleet.names() or not _is_of_other_projects(records):
        return [RootCause(*none)]
    # The registry never knows workers that don't report, so only their last outcome counts.
    failure = records.failure_since
    if failure is None:
        return []
    evidence = {"session": failure.session_id, **failure.evidence}
    return [RootCause(failure.cause, evidence, since=failure.at)]


def _is_of_other_projects(records: Records) -> bool:
    """Return whether the name's last agent came from a worker that doesn't report to us."""
    return records.join is not None and not records.join.reported


def _known(agent_name: str, fleet: Fleet | None, records: Records, now: datetime) -> Known:
    if fleet is not None and fleet.named(agent_name):
        return Known.REGISTERED
    if records.join is None or records.join.reported or records.failure_since is not None:
        return Known.UNKNOWN
    return Known.PROVEN if records.join.at >= now - RECENTLY else Known.UNPROVEN


def _fault_causes(workers: list[WorkerHeartbeat]) -> list[RootCause]:
    """Return the faults that workers report about themselves.

    They are fatal if every worker with a free slot has one.
    """
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
