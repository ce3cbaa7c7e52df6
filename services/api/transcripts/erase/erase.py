"""Erase what was said in a session, or by a participant, wherever we keep it.

One transaction deletes the text, updates the session's row, and writes a mark for an erased participant.
While it runs, no turn is being stored. From then on no process stores text of the session, however late a
turn comes (`shared.core.transcripts.erasure_rows`). What can't be reached at the moment is erased later.
Every erasure is repeated once, since a turn may have been on its way to Redis.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.sessions.read import session_of
from services.api.transcripts.erase.streams import Speaker, erase_from_redis, sessions_on_their_way
from services.api.transcripts.schemas import Erasure
from shared.core.sessions import upkeep
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.erasure_rows import erase_rows, exclude_stores, mark_person
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE as REDIS_UNREACHABLE

log = get_logger(__name__)

# By then, turns that were on their way to Redis have arrived.
SECOND_LOOK: Final = timedelta(minutes=1)
RETRY: Final = timedelta(seconds=5)
_BATCH: Final = 100

REDIS: Final = "redis"
DATABASE_FILE: Final = "database file"


@dataclass
class Removed:
    """What an erasure removed."""

    turns: int = 0
    stream_entries: int = 0
    dead_letters: int = 0
    pending: list[str] = field(default_factory=list)


async def erase_session(
    session_id: str, *, project: str, database: Database, redis: Redis, now: Clock
) -> Erasure:
    """Erase the text of one session; raises `Problem` if there is no such session.

    Repeating it is harmless.
    """
    async with database.read() as db:
        await session_of(db, session_id, project)
    return await _erase([session_id], None, database=database, redis=redis, now=now)


async def erase_participant(
    identity: str, *, project: str, database: Database, redis: Redis, now: Clock
) -> Erasure:
    """Erase the text of a project's sessions in which the participant took part, including the answers.

    If it becomes known only later that they took part in an earlier session, it is erased then: the mark
    stays.
    """
    async with database.write() as db:
        await exclude_stores(db)
        await mark_person(db, project=project, identity=identity, now=now())
        found = await _sessions_of(db, identity, project)

    async def projects(session_ids: Collection[str]) -> Mapping[str, str]:
        async with database.read() as db:
            named = select(col(SessionRow.id), col(SessionRow.project))
            rows = await db.execute(named.where(col(SessionRow.id).in_(session_ids)))
            return {row.id: row.project for row in rows}

    speaker = Speaker(identity, project, projects)
    try:
        found = sorted({*found, *await sessions_on_their_way(redis, speaker)})
    except REDIS_UNREACHABLE as error:
        log.warning("turns_on_their_way_not_seen", error=repr(error))  # their consumer will see the mark
    return await _erase(found, speaker, database=database, redis=redis, now=now)


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
        await exclude_stores(db)
        return await erase_rows(db, session_ids, now=now, again_at=now + SECOND_LOOK)


async def erase_copies(
    removed: Removed,
    session_ids: Sequence[str],
    speaker: Speaker | None,
    *,
    database: Database,
    redis: Redis,
    now: Clock,
) -> None:
    """Erase the copies outside rows.

    They are in streams, in the history for an agent that takes over, and in freed pages of SQLite's file.
    """
    try:
        found = await erase_from_redis(redis, session_ids, speaker, told=session_ids)
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
    """Schedule another erasure of the sessions at a time; None cancels it."""
    async with database.write() as db:
        await upkeep.erase_again(db, session_ids, at=at)


async def _empty_sqlite_files(database: Database) -> bool:
    """Remove the words from the index's older segments, and the text from the write-ahead log.

    Returns False if a reader prevented emptying the log.
    """
    async with database.write() as db:
        await db.execute(text("INSERT INTO transcript_search (transcript_search) VALUES ('optimize')"))
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
            busy, _, _ = await cursor.fetchone()
    return not busy
