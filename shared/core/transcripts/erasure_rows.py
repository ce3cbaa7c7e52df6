"""Erased transcripts in the database: locks between erasing and storing, marks, and blanked turns.

The database is the truth: `SessionRow.transcript_erased_at` for a session, and a mark for a participant,
whose sessions may not be known yet. Transactions that store turns and transactions that erase text exclude
each other. So a turn is either stored before an erasure, which then finds it, or after it, and then without
its text.
"""

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import TurnFinished
from shared.contracts.text import bounded_id, cleaned
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import lock_sessions, mark_erased
from shared.core.transcripts.tables import ErasureMarkRow, TranscriptItemRow
from shared.platform.database.database import changed
from shared.platform.database.insert import insert_into, is_on_postgres

_LOCK: Final = "rollcall:erasure"


async def exclude_erasures(db: AsyncSession) -> None:
    """Prevent erasures until this transaction ends. Call it before reading the sessions."""
    await _lock(db, func.pg_advisory_xact_lock_shared)


async def exclude_stores(db: AsyncSession) -> None:
    """Prevent storing turns until this transaction ends, so that it finds all turns stored before."""
    await _lock(db, func.pg_advisory_xact_lock)


async def _lock(db: AsyncSession, lock: Any) -> None:
    if is_on_postgres(db):  # SQLite has one writer at a time anyway
        await db.execute(select(lock(func.hashtext(_LOCK))))


def person_of(identity: str) -> str:
    """Return the hash of a participant's identity for a mark, which must not reveal who was erased."""
    return hashlib.sha256(bounded_id(cleaned(identity)).encode()).hexdigest()


async def mark_person(db: AsyncSession, *, project: str, identity: str, now: datetime) -> None:
    """Write a mark: late turns of this participant's sessions until now are stored without text."""
    mark = insert_into(db, ErasureMarkRow).values(project=project, person=person_of(identity), made_at=now)
    key = ["project", "person"]
    await db.execute(mark.on_conflict_do_update(index_elements=key, set_={"made_at": now}))


async def find_marked(
    db: AsyncSession, sessions: Collection[SessionRow], turns: Iterable[TurnFinished]
) -> list[str]:
    """Return the sessions with a participant who was erased after the session began."""
    people = {row.id: {person_of(row.participant_identity)} for row in sessions}
    for turn in turns:
        if turn.participant_identity is not None and turn.session_id in people:
            people[turn.session_id].add(person_of(turn.participant_identity))
    wanted = {(row.project, person) for row in sessions for person in people[row.id]}
    key = tuple_(col(ErasureMarkRow.project), col(ErasureMarkRow.person))
    marks = {
        (mark.project, mark.person): mark.made_at
        for mark in await db.scalars(select(ErasureMarkRow).where(key.in_(wanted)))
    }
    return [
        row.id
        for row in sessions
        if any(
            (made_at := marks.get((row.project, person))) is not None and row.requested_at <= made_at
            for person in people[row.id]
        )
    ]


async def erase_rows(
    db: AsyncSession, session_ids: Collection[str], *, now: datetime, again_at: datetime
) -> int:
    """Mark the sessions as erased and blank their turns; return how many turns had text.

    Call it after `exclude_stores`. `again_at` is when to erase copies outside rows once more.
    """
    await lock_sessions(db, session_ids)
    await mark_erased(db, session_ids, now=now, transcript_erase_again_at=again_at)
    return await blank(db, session_ids)


async def blank(db: AsyncSession, session_ids: Collection[str]) -> int:
    """Remove the text from the sessions' turns, and return how many. Times, roles and latencies stay."""
    nothing: Any = {}
    says_something = or_(col(TranscriptItemRow.text) != "", col(TranscriptItemRow.extra) != nothing)
    return await changed(
        db,
        update(TranscriptItemRow)
        .where(col(TranscriptItemRow.session_id).in_(session_ids), says_something)
        .values(text="", cut_from_bytes=None, extra=nothing)
        .execution_options(synchronize_session=False),
    )
