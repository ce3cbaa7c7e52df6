"""Read the outcomes of recent sessions from the database."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import Database

# A dispatcher claims a session within milliseconds. By this time, the sweep has enqueued it once more.
STALLED_AFTER = timedelta(seconds=3)

# If ALLOWED_AGENT_NAMES is empty, clients may ask for any name.
MOST_NAMES = 50

_VERDICTS = (SessionStatus.ACTIVE, SessionStatus.ENDED, SessionStatus.FAILED)


@dataclass(frozen=True)
class CanaryVerdict:
    """The outcome of a canary. `cause` is None if its agent was proven; `at` is when that was known."""

    session_id: str
    at: datetime
    cause: Cause | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as in /health/agent."""
        return {
            "session_id": self.session_id,
            "at": self.at.isoformat(),
            "ok": self.cause is None,
            "cause": self.cause,
        }


@dataclass(frozen=True)
class ProvenJoin:
    """The newest join of an agent.

    `reported` says whether its worker reported the job, so that the worker is ours.
    """

    session_id: str
    at: datetime
    reported: bool


@dataclass(frozen=True)
class Failure:
    """A session that got no agent, or lost it without a replacement."""

    session_id: str
    at: datetime
    cause: Cause
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Records:
    """What the database knows about recent sessions, of all agents and of one agent's name.

    For the name, these are its last proven join, the newest failure after it, its newest canary with a
    verdict, and whether an agent has joined since. `wanted` says whether any session requested the name.
    `stalled` sessions have waited for a dispatcher since `stalled_since`.
    """

    last_join: datetime | None = None
    join: ProvenJoin | None = None
    failure_since: Failure | None = None
    wanted: bool = False
    canary: CanaryVerdict | None = None
    joined_since_canary: bool = False
    stalled: int = 0
    stalled_since: datetime | None = None


async def read_records(database: Database, *, agent_name: str, now: datetime) -> Records:
    """Read everything. Each query has an index of its own, or stops at the first row."""
    async with database.read() as db:
        canary = await _newest_canary(db, agent_name)
        join = await _newest_join(db, agent_name)
        stalled, since = await _stalled(db, now)
        return Records(
            last_join=await _last_join(db),
            join=join,
            failure_since=await _failure_since(db, agent_name, join),
            wanted=await _wanted(db, agent_name),
            canary=canary,
            joined_since_canary=canary is not None and await _joined_since(db, agent_name, canary),
            stalled=stalled,
            stalled_since=since,
        )


# Built once: the forecast reads them every two seconds.
_OF_AGENT: Final = col(SessionRow.agent_name) == bindparam("agent_name")
_JOINED: Final = col(SessionRow.active_at).is_not(None)
_NEWEST_FIRST: Final = col(SessionRow.id).desc()
_LAST_JOIN: Final = select(col(SessionRow.active_at)).where(_JOINED).order_by(_NEWEST_FIRST).limit(1)
_NEWEST_JOIN: Final = select(SessionRow).where(_OF_AGENT, _JOINED).order_by(_NEWEST_FIRST).limit(1)
# Only a report of the job itself dates it.
_REPORTED: Final = (
    select(col(AttemptRow.number))
    .where(col(AttemptRow.session_id) == bindparam("session_id"), col(AttemptRow.entrypoint_at).is_not(None))
    .limit(1)
)
_NEWEST_FAILURE: Final = (
    select(SessionRow)
    .where(
        _OF_AGENT,
        col(SessionRow.status) == SessionStatus.FAILED,
        col(SessionRow.id) >= bindparam("since_session"),
    )
    .order_by(_NEWEST_FIRST)
    .limit(1)
)
_ANY: Final = select(col(SessionRow.id)).where(_OF_AGENT).limit(1)
_NEWEST_CANARY: Final = (
    select(SessionRow)
    .where(_OF_AGENT, col(SessionRow.canary).is_(True), col(SessionRow.status).in_(_VERDICTS))
    .order_by(_NEWEST_FIRST)
    .limit(1)
)
# Every live session has a `next_check_at`, so that column's index spares this query all ended sessions.
_STALLED: Final = select(func.count(), func.min(col(SessionRow.requested_at))).where(
    col(SessionRow.next_check_at).is_not(None),
    col(SessionRow.status) == SessionStatus.REQUESTED,
    col(SessionRow.waiting_for).is_(None),
    col(SessionRow.requested_at) < bindparam("stalled_since", type_=UtcDateTime),
)


async def _last_join(db: AsyncSession) -> datetime | None:
    return await db.scalar(_LAST_JOIN)


async def _newest_join(db: AsyncSession, agent_name: str) -> ProvenJoin | None:
    row = await db.scalar(_NEWEST_JOIN, {"agent_name": agent_name})
    if row is None or row.active_at is None:
        return None
    reported = await db.scalar(_REPORTED, {"session_id": row.id})
    return ProvenJoin(row.id, row.active_at, reported is not None)


async def _failure_since(db: AsyncSession, agent_name: str, join: ProvenJoin | None) -> Failure | None:
    since = "" if join is None else join.session_id
    row = await db.scalar(_NEWEST_FAILURE, {"agent_name": agent_name, "since_session": since})
    if row is None:
        return None
    at = row.ended_at or row.requested_at
    return Failure(row.id, at, Cause(row.cause or Cause.UNKNOWN), row.evidence or {})


async def _wanted(db: AsyncSession, agent_name: str) -> bool:
    return await db.scalar(_ANY, {"agent_name": agent_name}) is not None


async def read_names(database: Database, *, since: datetime) -> list[str]:
    """Return the agent names that sessions have requested since then, in order; at most `MOST_NAMES`."""
    # The query jumps in the index from each name to the next: each may have millions of sessions.
    names = select(func.min(col(SessionRow.agent_name)).label("name")).cte("names", recursive=True)
    later = (
        select(func.min(col(SessionRow.agent_name)))
        .where(col(SessionRow.agent_name) > names.c.name)
        .scalar_subquery()
    )
    names = names.union_all(select(later).where(names.c.name.is_not(None)))
    newest = (
        select(col(SessionRow.requested_at))
        .where(col(SessionRow.agent_name) == names.c.name)
        .order_by(col(SessionRow.id).desc())
        .limit(1)
        .scalar_subquery()
    )
    found = select(names.c.name).where(names.c.name.is_not(None), newest >= since).limit(MOST_NAMES)
    async with database.read() as db:
        return list((await db.scalars(found)).all())


async def _newest_canary(db: AsyncSession, agent_name: str) -> CanaryVerdict | None:
    row = await db.scalar(_NEWEST_CANARY, {"agent_name": agent_name})
    if row is None:
        return None
    if row.status != SessionStatus.FAILED:
        return CanaryVerdict(row.id, row.ready_at or row.active_at or row.requested_at)
    cause = Cause(row.cause or Cause.UNKNOWN)
    return CanaryVerdict(row.id, row.ended_at or row.requested_at, cause, row.evidence or {})


async def _joined_since(db: AsyncSession, agent_name: str, canary: CanaryVerdict) -> bool:
    later = select(col(SessionRow.id)).where(
        col(SessionRow.id) > canary.session_id,
        col(SessionRow.agent_name) == agent_name,
        col(SessionRow.active_at) > canary.at,
    )
    return await db.scalar(later.limit(1)) is not None


async def _stalled(db: AsyncSession, now: datetime) -> tuple[int, datetime | None]:
    count, since = (await db.execute(_STALLED, {"stalled_since": now - STALLED_AFTER})).one()
    return count, since
