"""Delete expired rows, and bound what Redis holds. docs/growth.md lists everything that grows.

One process at a time does it, in small batches, so that no request waits for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import ColumnElement, delete, literal, literal_column, or_, select, tuple_
from sqlmodel import col

from services.api import metrics
from services.api.console.logins import IDLE, LONGEST
from services.api.settings import ApiSettings
from shared.contracts.causes import Cause
from shared.contracts.identifiers import first_id
from shared.contracts.keys import DEAD_LETTERS_STREAM, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.core.api_keys.tables import ApiKeyRow, ConsoleLoginRow
from shared.core.audit.tables import AuditRow
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import delete_sessions
from shared.core.transcripts.erasure_rows import exclude_stores
from shared.core.transcripts.tables import ErasureMarkRow, TranscriptItemRow
from shared.platform.clock import Clock
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import Database, changed
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger
from shared.platform.redis.stream_upkeep import cut_to_age, cut_to_bytes
from shared.platform.redis.streams import UNREACHABLE as REDIS_UNREACHABLE

log = get_logger(__name__)

LEASE: Final = "growth"
LEASE_TERM: Final = timedelta(seconds=30)
TICK_S: Final = 10.0
# Each pass reads again all sessions that are kept for their turns, so passes are rare.
ROUND_EVERY: Final = timedelta(minutes=10)
_SESSIONS: Final = 200
_MARKS: Final = 1000
_MEGABYTE: Final = 1024 * 1024


class Growth:
    """Runs in every API process; only the one that holds the lease works."""

    def __init__(
        self, *, database: Database, redis: Redis, settings: ApiSettings, holder: str, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._settings = settings
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now
        self._looked_up_to: tuple[datetime, str] | None = None
        self._next_round: datetime | None = None

    async def run(self) -> None:
        """Keep everything within its bounds, forever. What fails now is tried again in the next round."""
        await every(
            TICK_S,
            self.step,
            lease=self._lease,
            of=(*DATABASE_ERRORS, *REDIS_UNREACHABLE),
            note=lambda error: log.warning("growth_not_bounded", error=repr(error)),
        )

    async def step(self) -> bool:
        """Handle a batch of each kind; return True if there may be more."""
        rows = await self.delete_reservations() + await self.delete_sessions() + await self.delete_marks()
        rows += await self.delete_logins() + await self.delete_audit()
        if not rows:
            await self.bound_streams()
        return rows > 0

    async def delete_reservations(self) -> int:
        """Delete a batch of unused reservations, and return how many."""
        before = self._now() - timedelta(days=self._settings.reservation_retention_days)
        # Written exactly as in its index; otherwise SQLite does not use the index.
        expired: ColumnElement[bool] = literal_column(f"status = '{SessionStatus.EXPIRED}'")
        async with self._database.read() as db:
            old = select(col(SessionRow.id)).where(expired, col(SessionRow.ended_at) < before)
            found = list(await db.scalars(old.order_by(col(SessionRow.ended_at)).limit(_SESSIONS)))
            # The limits refuse only reservations of a key, so only projects with keys have refused ones.
            for project in await db.scalars(select(col(ApiKeyRow.project)).distinct()):
                refused = (
                    select(col(SessionRow.id))
                    .where(
                        col(SessionRow.project) == project,
                        col(SessionRow.cause) == Cause.TOO_MANY_SESSIONS,
                        col(SessionRow.id) < first_id(before),
                    )
                    .order_by(col(SessionRow.id))
                )
                found += await db.scalars(refused.limit(_SESSIONS))
        return await self._delete(found)

    async def delete_sessions(self) -> int:
        """Delete those without turns in a batch of sessions past their retention; return the batch's size."""
        days, now = self._settings.session_retention_days, self._now()
        if not days or (self._next_round is not None and now < self._next_round):
            return 0
        order = (col(SessionRow.ended_at), col(SessionRow.id))
        has_turns = select(col(TranscriptItemRow.item_id)).where(_of_session(TranscriptItemRow)).exists()
        page = (
            select(*order, has_turns.label("has_turns"))
            .where(col(SessionRow.ended_at) < now - timedelta(days=days))
            .order_by(*order)
            .limit(_SESSIONS)
        )
        if self._looked_up_to is not None:
            ended_at, session_id = self._looked_up_to
            page = page.where(tuple_(*order) > tuple_(literal(ended_at, UtcDateTime), literal(session_id)))
        async with self._database.read() as db:
            rows = (await db.execute(page)).all()
        await self._delete([row.id for row in rows if not row.has_turns])
        over = len(rows) < _SESSIONS
        self._looked_up_to = None if over else (rows[-1].ended_at, rows[-1].id)
        self._next_round = now + ROUND_EVERY if over else None
        return len(rows)

    async def _delete(self, session_ids: Sequence[str]) -> int:
        """Delete ended sessions without turns, with their attempts and events."""
        if not session_ids:
            return 0
        has_turns = select(col(TranscriptItemRow.item_id)).where(_of_session(TranscriptItemRow)).exists()
        async with self._database.write() as db:
            await exclude_stores(db)  # a turn of one of them could arrive right now
            over = select(col(SessionRow.id)).where(
                col(SessionRow.id).in_(session_ids), col(SessionRow.status).in_(TERMINAL), ~has_turns
            )
            doomed = list(await db.scalars(over))
            await delete_sessions(db, doomed)
        metrics.outlived("session", len(doomed))
        log.info("old_sessions_deleted", sessions=len(doomed))
        return len(doomed)

    async def delete_marks(self) -> int:
        """Delete a batch of erasure marks for which no late turn can arrive any more, and return how many."""
        before = self._now() - timedelta(days=self._settings.erasure_mark_retention_days)
        key = tuple_(col(ErasureMarkRow.project), col(ErasureMarkRow.person))
        old = select(col(ErasureMarkRow.project), col(ErasureMarkRow.person)).where(
            col(ErasureMarkRow.made_at) < before
        )
        async with self._database.read() as db:
            found = [tuple(row) for row in await db.execute(old.limit(_MARKS))]
        if not found:
            return 0
        async with self._database.write() as db:
            marks = await changed(db, delete(ErasureMarkRow).where(key.in_(found)))
        metrics.outlived("erasure_mark", marks)
        return marks

    async def delete_logins(self) -> int:
        """Delete a batch of the console's logins that are over, and return how many."""
        now = self._now()
        over = or_(
            col(ConsoleLoginRow.last_used_at) <= now - IDLE, col(ConsoleLoginRow.created_at) <= now - LONGEST
        )
        async with self._database.read() as db:
            found = list(await db.scalars(select(col(ConsoleLoginRow.id_hash)).where(over).limit(_MARKS)))
        if not found:
            return 0
        async with self._database.write() as db:
            logins = await changed(
                db, delete(ConsoleLoginRow).where(col(ConsoleLoginRow.id_hash).in_(found), over)
            )
        metrics.outlived("console_login", logins)
        return logins

    async def delete_audit(self) -> int:
        """Delete a batch of entries of the audit trail past their retention, and return how many."""
        days = self._settings.audit_retention_days
        if not days:
            return 0
        before = col(AuditRow.id) < first_id(self._now() - timedelta(days=days))
        async with self._database.read() as db:
            found = list(await db.scalars(select(col(AuditRow.id)).where(before).limit(_MARKS)))
        if not found:
            return 0
        async with self._database.write() as db:
            entries = await changed(db, delete(AuditRow).where(col(AuditRow.id).in_(found)))
        metrics.outlived("audit_entry", entries)
        return entries

    async def bound_streams(self) -> None:
        """Trim streams to their limits of age and size, oldest entries first."""
        settings = self._settings
        letters_for = timedelta(days=settings.dead_letter_retention_days)
        if settings.transcript_retention_days:
            letters_for = min(letters_for, timedelta(days=settings.transcript_retention_days))
        await cut_to_age(self._redis, EVENTS_STREAM, timedelta(hours=settings.events_stream_hours))
        await cut_to_age(self._redis, DEAD_LETTERS_STREAM, letters_for)
        for stream in (EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM, DEAD_LETTERS_STREAM):
            most = settings.dead_letters_max_mb if stream == DEAD_LETTERS_STREAM else settings.streams_max_mb
            try:
                cut = await cut_to_bytes(self._redis, stream, most * _MEGABYTE)
            except ResponseError as error:  # a server that forbids MEMORY USAGE
                log.warning("stream_not_measured", stream=stream, error=repr(error))
                continue
            if cut:
                metrics.outlived(stream, cut)
                log.error("stream_cut_to_size", stream=stream, entries=cut, most_mb=most)


def _of_session(child: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = col(child.session_id) == col(SessionRow.id)
    return found
