"""Housekeeping of transcripts: delete old turns, repeat erasures, and index turns that are in no index.

Each is done in batches.

One process at a time does it. Every step takes few rows, so that no request waits for it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from redis.asyncio import Redis
from sqlalchemy import delete, select, tuple_
from sqlmodel import col

from services.api.auth.access import DEFAULT_PROJECT
from services.api.settings import ApiSettings
from services.api.transcripts.erase.erase import RETRY, Removed, erase_copies, schedule_again
from services.api.transcripts.erase.streams import erase_from_redis
from shared.core.api_keys.tables import ApiKeyRow
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import mark_deleted, mark_erased
from shared.core.transcripts.erasure_rows import blank, exclude_stores
from shared.core.transcripts.search_words import index_missing
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database, changed
from shared.platform.lease import Lease, every
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE as REDIS_UNREACHABLE

log = get_logger(__name__)

LEASE: Final = "transcript-housekeeping"
LEASE_TERM: Final = timedelta(seconds=30)
TICK_S: Final = 5.0
_SESSIONS: Final = 100
_TURNS: Final = 2000
_INDEXED: Final = 500


def retention_of(_project: str, settings: ApiSettings) -> timedelta | None:
    """Return how long after a session's end its turns are kept; None means forever.

    It is the same for every project, as long as projects have no settings of their own.
    """
    days = settings.transcript_retention_days
    return timedelta(days=days) if days else None


class Housekeeping:
    """Runs in every API process; only the one that holds the lease works."""

    def __init__(
        self, *, database: Database, redis: Redis, settings: ApiSettings, holder: str, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._settings = settings
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now

    async def run(self) -> None:
        """Keep house forever. What fails now is tried again in the next round."""
        await every(
            TICK_S,
            self.step,
            lease=self._lease,
            note=lambda error: log.warning("transcript_housekeeping_interrupted", error=repr(error)),
        )

    async def step(self) -> bool:
        """Handle a batch of each kind; return True if there may be more."""
        await self.erase_again()
        deleted = [await self.delete_old(project) for project in await self.projects()]
        return sum([*deleted, await self.index_missing()]) > 0

    async def erase_again(self) -> int:
        """Repeat the erasures that are due, and return of how many sessions."""
        now = self._now()
        due = (
            select(col(SessionRow.id))
            .where(col(SessionRow.transcript_erase_again_at) <= now)
            .order_by(col(SessionRow.transcript_erase_again_at))
            .limit(_SESSIONS)
        )
        async with self._database.read() as db:
            session_ids = list((await db.scalars(due)).all())
        if not session_ids:
            return 0
        removed = Removed()
        # Until this succeeds, it is repeated; not at once, since it reads whole streams.
        await schedule_again(self._database, session_ids, at=now + RETRY)
        async with self._database.write() as db:
            removed.turns = await blank(db, session_ids)
        await erase_copies(
            removed, session_ids, None, database=self._database, redis=self._redis, now=self._now
        )
        if not removed.pending:
            await schedule_again(self._database, session_ids, at=None)
        if removed.turns or removed.stream_entries or removed.dead_letters:
            log.info("late_turns_erased", sessions=len(session_ids), **vars(removed))
        return len(session_ids)

    async def index_missing(self) -> int:
        """Index a batch of turns that are in no index yet, and return how many."""
        async with self._database.write() as db:
            connection = await db.connection()
            turns = await connection.run_sync(index_missing, _INDEXED)
        if turns:
            log.info("turns_indexed", turns=turns)
        return turns

    async def projects(self) -> list[str]:
        """Return every project that may have sessions: the default one, and those with keys."""
        async with self._database.read() as db:
            named = await db.scalars(select(col(ApiKeyRow.project)).distinct())
        return sorted({DEFAULT_PROJECT, *named})

    async def delete_old(self, project: str) -> int:
        """Delete one batch of turns whose retention is over, and return how many rows changed."""
        keep = retention_of(project, self._settings)
        if keep is None:
            return 0
        now = self._now()
        old = (
            select(col(SessionRow.id))
            .where(
                col(SessionRow.project) == project,
                col(SessionRow.ended_at) < now - keep,
                col(SessionRow.transcript_deleted_at).is_(None),
            )
            .order_by(col(SessionRow.ended_at))
            .limit(_SESSIONS)
        )
        async with self._database.read() as db:
            session_ids = list((await db.scalars(old)).all())
        return await self._delete(session_ids) if session_ids else 0

    async def _delete(self, session_ids: Sequence[str]) -> int:
        turn = tuple_(col(TranscriptItemRow.session_id), col(TranscriptItemRow.item_id))
        some = (
            select(col(TranscriptItemRow.session_id), col(TranscriptItemRow.item_id))
            .where(col(TranscriptItemRow.session_id).in_(session_ids))
            .limit(_TURNS)
        )
        left = select(col(TranscriptItemRow.item_id)).where(
            col(TranscriptItemRow.session_id) == col(SessionRow.id)
        )
        now = self._now()
        async with self._database.write() as db:
            await exclude_stores(db)
            turns = await changed(db, delete(TranscriptItemRow).where(turn.in_(some)))
            # Sessions without turns are finished. For the others, late turns are stored without their text.
            await mark_erased(db, session_ids, now=now)
            sessions = await mark_deleted(db, session_ids, ~left.exists(), now=now)
        if sessions:
            await self._delete_copies(session_ids)
        log.info("old_turns_deleted", turns=turns, sessions=sessions)
        return turns + sessions

    async def _delete_copies(self, session_ids: Sequence[str]) -> None:
        """Agent workers get no markers: those of all old sessions would fill Redis."""
        try:
            await erase_from_redis(self._redis, session_ids, None, told=())
        except REDIS_UNREACHABLE as error:
            log.warning("old_turns_left_in_redis", error=repr(error))
            await schedule_again(self._database, session_ids, at=self._now() + RETRY)
