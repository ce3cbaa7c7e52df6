"""Erase what was said in a session, or by a participant, wherever we keep it.

The row of the session is marked first, in the same transaction in which the text goes: from then on
nobody stores text of it, however late a turn comes. What can't be reached at the moment is erased again
later, and every erasure is repeated once, since a turn may have been on its way when it was made.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.erase_streams import Speaker, erase_from_redis
from services.api.read import session_of
from services.api.transcript_schemas import Erasure
from shared.runtime.clock import Clock
from shared.runtime.database import Database, changed
from shared.runtime.database_errors import DATABASE_ERRORS
from shared.runtime.logs import get_logger
from shared.runtime.streams import UNREACHABLE as REDIS_UNREACHABLE
from shared.runtime.tables import SessionRow, TranscriptItemRow

log = get_logger(__name__)

# By then whoever had read the row before the erasure has stored what it had.
SECOND_LOOK: Final = timedelta(minutes=1)
RETRY: Final = timedelta(seconds=5)
_BATCH: Final = 100

REDIS: Final = "redis"
DATABASE_FILE: Final = "database file"


@dataclass
class Removed:
    """What an erasure found and removed."""

    turns: int = 0
    stream_entries: int = 0
    dead_letters: int = 0
    pending: list[str] = field(default_factory=list)


async def erase_session(
    session_id: str, *, project: str, database: Database, redis: Redis, now: Clock
) -> Erasure:
    """Erase the text of one session; raises `Problem` if there is none. Doing it twice does no harm."""
    async with database.read() as db:
        await session_of(db, session_id, project)
    return await _erase([session_id], None, database=database, redis=redis, now=now)


async def erase_participant(
    identity: str, *, project: str, database: Database, redis: Redis, now: Clock
) -> Erasure:
    """Erase the text of a project's sessions in which the participant took part, the answers too."""
    async with database.read() as db:
        found = await _sessions_of(db, identity, project)

    async def others(session_ids: Collection[str]) -> Collection[str]:
        async with database.read() as db:
            return await _of_other_projects(db, session_ids, project)

    return await _erase(found, Speaker(identity, others), database=database, redis=redis, now=now)


async def _of_other_projects(db: AsyncSession, session_ids: Collection[str], project: str) -> set[str]:
    theirs = select(col(SessionRow.id)).where(
        col(SessionRow.id).in_(session_ids), col(SessionRow.project) != project
    )
    return set(await db.scalars(theirs))


async def _sessions_of(db: AsyncSession, identity: str, project: str) -> list[str]:
    of_project = col(SessionRow.project) == project
    asked_for = select(col(SessionRow.id)).where(of_project, col(SessionRow.participant_identity) == identity)
    spoke_in = (
        select(col(TranscriptItemRow.session_id))
        .join(SessionRow, col(SessionRow.id) == col(TranscriptItemRow.session_id))
        .where(of_project, col(TranscriptItemRow.participant_identity) == identity)
    )
    return sorted({*(await db.scalars(asked_for)), *(await db.scalars(spoke_in.distinct()))})


async def _erase(
    session_ids: Sequence[str], speaker: Speaker | None, *, database: Database, redis: Redis, now: Clock
) -> Erasure:
    removed = Removed()
    for start in range(0, len(session_ids), _BATCH):
        removed.turns += await _erase_rows(session_ids[start : start + _BATCH], database, now())
    await erase_copies(removed, session_ids, speaker, database=database, redis=redis, now=now)
    log.info(
        "transcripts_erased", sessions=len(session_ids), turns=removed.turns, pending=removed.pending or None
    )
    return Erasure(session_ids=list(session_ids), **vars(removed))


async def _erase_rows(session_ids: Sequence[str], database: Database, now: datetime) -> int:
    async with database.write() as db:
        # In one order, so that two erasures of the same sessions don't wait for each other.
        here = select(col(SessionRow.id)).where(col(SessionRow.id).in_(session_ids))
        await db.execute(here.order_by(col(SessionRow.id)).with_for_update())
        await db.execute(
            update(SessionRow)
            .where(col(SessionRow.id).in_(session_ids))
            .values(
                transcript_erased_at=func.coalesce(col(SessionRow.transcript_erased_at), now),
                transcript_erase_again_at=now + SECOND_LOOK,
            )
            .execution_options(synchronize_session=False)
        )
        return await blank(db, session_ids)


async def blank(db: AsyncSession, session_ids: Sequence[str]) -> int:
    """Take the text out of the sessions' turns; times, roles and latencies stay. Returns how many."""
    nothing: Any = {}
    says_something = or_(col(TranscriptItemRow.text) != "", col(TranscriptItemRow.extra) != nothing)
    return await changed(
        db,
        update(TranscriptItemRow)
        .where(col(TranscriptItemRow.session_id).in_(session_ids), says_something)
        .values(text="", cut_from_bytes=None, extra=nothing)
        .execution_options(synchronize_session=False),
    )


async def erase_copies(
    removed: Removed,
    session_ids: Sequence[str],
    speaker: Speaker | None,
    *,
    database: Database,
    redis: Redis,
    now: Clock,
) -> None:
    """Erase what is not a row: streams, the history for a successor, freed pages of the embedded file."""
    try:
        found = await erase_from_redis(redis, session_ids, speaker)
        removed.stream_entries += found.stream_entries
        removed.dead_letters += found.dead_letters
    except REDIS_UNREACHABLE as error:
        log.warning("erasure_incomplete", where=REDIS, error=repr(error))
        removed.pending.append(REDIS)
    try:
        if database.is_sqlite and not await _empty_sqlite_files(database):
            removed.pending.append(DATABASE_FILE)
    except DATABASE_ERRORS as error:
        log.warning("erasure_incomplete", where=DATABASE_FILE, error=repr(error))
        removed.pending.append(DATABASE_FILE)
    if removed.pending:
        await schedule_again(database, session_ids, at=now() + RETRY)


async def schedule_again(database: Database, session_ids: Sequence[str], *, at: datetime | None) -> None:
    """Have the sessions erased once more at a time, or never again."""
    async with database.write() as db:
        await db.execute(
            update(SessionRow)
            .where(col(SessionRow.id).in_(session_ids))
            .values(transcript_erase_again_at=at)
            .execution_options(synchronize_session=False)
        )


async def _empty_sqlite_files(database: Database) -> bool:
    """Drop the words from the index's older segments, and the text from the write-ahead log.

    False if a reader kept the log from being emptied.
    """
    async with database.write() as db:
        await db.execute(text("INSERT INTO transcript_search (transcript_search) VALUES ('optimize')"))
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
            busy, _, _ = await cursor.fetchone()
    return not busy
