"""Count the outcomes of a project's sessions, and how long they took to each level."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.sessions.read import SessionFilters
from services.api.stats.schemas import Bucket, LevelTimes, Stats
from services.api.transcripts.read.latency import percentile
from shared.contracts.causes import Cause
from shared.contracts.sessions import Level, SessionStatus
from shared.core.sessions.tables import SessionRow

# SQLite has no percentiles, so they are made here; more rows would hold the event loop for too long.
MOST_SESSIONS: Final = 10_000
BUCKETS: Final = 60

_UNCOUNTED: Final = (SessionStatus.RESERVED, SessionStatus.EXPIRED)
_COLUMNS: Final = (
    SessionRow.status,
    SessionRow.cause,
    SessionRow.attempt,
    SessionRow.revivals,
    SessionRow.requested_at,
    SessionRow.accepted_at,
    SessionRow.assigned_at,
    SessionRow.active_at,
    SessionRow.ready_at,
    SessionRow.first_speech_at,
)


async def read_sessions(
    db: AsyncSession, *, project: str, since: datetime, until: datetime, agent_name: str | None
) -> Sequence[Any]:
    """Return a row of `_COLUMNS` for each session requested in that time, the newest first.

    There is one more than `MOST_SESSIONS` if there are more than these.
    """
    filters = SessionFilters(agent_name=agent_name, since=since, until=until)
    asked = [
        col(SessionRow.project) == project,
        col(SessionRow.status).not_in(_UNCOUNTED),
        col(SessionRow.canary).is_(False),
        *filters.conditions(),
    ]
    query = select(*map(col, _COLUMNS)).where(*asked).order_by(col(SessionRow.requested_at).desc())
    return (await db.execute(query.limit(MOST_SESSIONS + 1))).all()


def stats_of(rows: Sequence[Any], *, since: datetime, until: datetime) -> Stats:
    """Return the statistics of what `read_sessions` has read."""
    sessions = rows[:MOST_SESSIONS]
    joined = sum(row.active_at is not None for row in sessions)
    missed = sum(_has_failed(row) and row.active_at is None for row in sessions)
    return Stats(
        since=since,
        until=until,
        sessions=len(sessions),
        complete=len(rows) <= MOST_SESSIONS,
        by_status=dict(Counter(SessionStatus(row.status) for row in sessions)),
        by_cause=dict(Counter(Cause(row.cause) for row in sessions if _has_failed(row) and row.cause)),
        join_ratio=joined / (joined + missed) if joined + missed else None,
        attempts=sum(row.attempt for row in sessions),
        revivals=sum(row.revivals for row in sessions),
        levels=dict(_levels(sessions)),
        buckets=_buckets(sessions, since=since, until=until),
    )


def _levels(sessions: Sequence[Any]) -> Iterable[tuple[Level, LevelTimes]]:
    for level in Level:
        reached = [(getattr(row, f"{level}_at"), row.requested_at) for row in sessions]
        times = [(at - requested) / timedelta(milliseconds=1) for at, requested in reached if at]
        if times:
            p50, p95, p99 = (round(percentile(times, percent)) for percent in (50, 95, 99))
            yield level, LevelTimes(sessions=len(times), p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _buckets(sessions: Sequence[Any], *, since: datetime, until: datetime) -> list[Bucket]:
    width = (until - since) / BUCKETS
    buckets = [Bucket(start=since + width * i, sessions=0, joined=0, failed=0) for i in range(BUCKETS)]
    for row in sessions:
        bucket = buckets[min(BUCKETS - 1, int((row.requested_at - since) / width))]
        bucket.sessions += 1
        bucket.joined += row.active_at is not None
        bucket.failed += _has_failed(row)
    return buckets


def _has_failed(row: Any) -> bool:
    return bool(row.status == SessionStatus.FAILED)
