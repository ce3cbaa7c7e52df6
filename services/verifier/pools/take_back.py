"""Take a pool's share of the sessions back when too many of its sessions fail.

It runs in every verifier; only the one that holds the lease works. For each agent name whose sessions are
shared between pools:

1. Count the sessions of the last minutes, of each pool: at most since the shares were set.
2. A pool with enough sessions, of which too many failed, fails. A pool with enough sessions, of which few
   failed, is proven.
3. The share of a failing pool goes to the proven pool that has the largest share. If no pool is proven,
   nothing changes: the fault may be everybody's.

The pool keeps 0 % until an operator sets the shares again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from services.verifier import metrics
from services.verifier.pools.pool_records import PoolRecord, read_causes, read_pool_records
from shared.contracts.events import ShareTakenBack
from shared.core.pools.tables import TrafficRow
from shared.core.pools.traffic import take_back
from shared.core.sessions.repository import record
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger

LEASE: Final = "traffic"
LEASE_TERM: Final = timedelta(seconds=15)
INTERVAL_S: Final = 2.0
ADVICE: Final = (
    "Find out why the pool's sessions fail: see the causes, rollcall sessions and the workers' logs. Then "
    "set the shares again by PUT /v1/agents/{agent_name}/traffic. Until then the pool gets no session by "
    "shares."
)

log = get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """The pools that fail, with their records, and the shares without them."""

    failing: Mapping[str, PoolRecord]
    shares: Mapping[str, int]


@dataclass(frozen=True)
class Rule:
    """When a pool fails: so many sessions within `window`, of which more than `max_failed_percent` failed."""

    window: timedelta
    min_sessions: int
    max_failed_percent: float


class TrafficWatch:
    """Looks every two seconds at each agent name whose sessions are shared."""

    def __init__(self, *, database: Database, rule: Rule, holder: str, now: Clock) -> None:
        self._database = database
        self._rule = rule
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now

    async def run(self) -> None:
        """Look forever."""
        await every(INTERVAL_S, self.look, lease=self._lease, note=_note, otherwise=self._leave_to_the_holder)

    async def look(self) -> None:
        """Take back the shares of failing pools, and show all shares."""
        async with self._database.read() as db:
            rows = list(await db.scalars(select(TrafficRow)))
        for row in rows:
            await self._judge(row)
        metrics.traffic(rows)

    async def _leave_to_the_holder(self) -> None:
        metrics.traffic([])

    async def _judge(self, row: TrafficRow) -> None:
        if sum(share > 0 for share in row.shares.values()) < 2:
            return
        now = self._now()
        since = max(row.changed_at, now - self._rule.window)
        async with self._database.read() as db:
            records = await read_pool_records(db, row.agent_name, since=since)
        verdict = judge(row.shares, records, self._rule)
        if verdict is not None:
            await self._take_back(row, verdict, since=since, now=now)

    async def _take_back(self, row: TrafficRow, verdict: Verdict, *, since: datetime, now: datetime) -> None:
        async with self._database.write() as db:
            events = [
                ShareTakenBack(
                    agent_name=row.agent_name,
                    deployment=pool,
                    percent=row.shares[pool],
                    shares=dict(verdict.shares),
                    sessions=failing.sessions,
                    failed=failing.failed,
                    causes=await read_causes(db, row.agent_name, pool, since=since),
                    since=since,
                    advice=ADVICE.format(agent_name=row.agent_name),
                )
                for pool, failing in verdict.failing.items()
            ]
            if not await take_back(db, row, verdict.shares, events, now=now):
                return  # an operator has set the shares meanwhile
            for event in events:
                failed = await db.get(SessionRow, verdict.failing[event.deployment].newest_failed)
                if failed is not None:
                    await record(db, failed, event, now=now)
        for event in events:
            log.warning(
                "share_taken_back",
                message=f"{event.failed} of {event.sessions} sessions of pool {event.deployment!r} failed, "
                "so another pool has its share now",
                **event.model_dump(mode="json", exclude={"since"}),
            )


def judge(shares: Mapping[str, int], records: Mapping[str, PoolRecord], rule: Rule) -> Verdict | None:
    """Return which pools fail and the shares without them; None if none fails or no other is proven."""
    known = {
        pool: found
        for pool, found in records.items()
        if shares.get(pool, 0) > 0 and found.sessions >= rule.min_sessions
    }
    failing = {pool: found for pool, found in known.items() if found.failed_percent > rule.max_failed_percent}
    proven = known.keys() - failing.keys()
    if not failing or not proven:
        return None
    receiver = max(sorted(proven), key=lambda pool: shares[pool])
    freed = sum(shares[pool] for pool in failing)
    return Verdict(failing, {**shares, **dict.fromkeys(failing, 0), receiver: shares[receiver] + freed})


def _note(error: Exception) -> None:
    metrics.traffic([])
    log.warning("traffic_not_watched", error=repr(error))
