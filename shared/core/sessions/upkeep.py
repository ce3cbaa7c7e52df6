"""Changes to sessions that move no status, and which any process may make at any time.

None of them compares `version`. Each is one statement that states its own condition, or that is right
whatever another process has changed meanwhile; where one must not be overlooked by a task that works on the
session, it raises `version`. What moves a status or claims a session is in `repository`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import col

from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.core.sessions.tables import AttemptRow, EventRow, SessionRow
from shared.platform.database.database import changed


async def make_due(db: AsyncSession, *which: ColumnElement[bool], at: datetime) -> int:
    """Have the sweep enqueue these sessions at a time; returns how many there are.

    A task that works on one of them sets its next time anew when it is done.
    """
    return await changed(db, update(SessionRow).where(*which).values(next_check_at=at))


async def watch_now(db: AsyncSession, session_id: str, *, now: datetime) -> None:
    """Have the session looked at without waiting for its turn, if it is active."""
    await make_due(
        db, col(SessionRow.id) == session_id, col(SessionRow.status) == SessionStatus.ACTIVE, at=now
    )


async def close_again(db: AsyncSession, session_id: str, *, now: datetime, **changes: Any) -> bool:
    """Have the room of a session that is over cleared once more; False if the session is not over.

    A session that is over stays so: nobody else can have moved it.
    """
    over = update(SessionRow).where(col(SessionRow.id) == session_id, col(SessionRow.status).in_(TERMINAL))
    return bool(await changed(db, over.values(next_check_at=now, **changes)))


async def let_go_on(db: AsyncSession, *waiting: ColumnElement[bool], until: datetime) -> set[str]:
    """Take the claim off sessions that wait, and return the ids of those that still did.

    The sweep enqueues them again at `until`. `version` rises: who read the claim can't renew it.
    """
    free = (
        update(SessionRow)
        .where(*waiting)
        .values(claimed_until=None, next_check_at=until, version=SessionRow.version + 1)
        .returning(col(SessionRow.id))
        .execution_options(synchronize_session=False)
    )
    return set((await db.scalars(free)).all())


async def set_room_sid(db: AsyncSession, session_id: str, room_sid: str) -> None:
    """Remember the sid of the room that the agent is in: the newest word counts."""
    await db.execute(update(SessionRow).where(col(SessionRow.id) == session_id).values(room_sid=room_sid))


async def note_caller_joined(db: AsyncSession, session_ids: Sequence[str], *, now: datetime) -> None:
    """Remember when a caller was first in the room of these sessions; an earlier time stays."""
    first = update(SessionRow).where(
        col(SessionRow.id).in_(session_ids), col(SessionRow.caller_joined_at).is_(None)
    )
    await db.execute(first.values(caller_joined_at=now))


async def note_callers(db: AsyncSession, row: SessionRow, *, present: bool, now: datetime) -> None:
    """Remember that a caller is there, or since when none is, and bring `row` up to date.

    The first time at which a caller joined stays, whoever has noted it.
    """
    changes: dict[str, Any] = {"caller_left_at": None if present else now}
    if present:
        changes["caller_joined_at"] = func.coalesce(col(SessionRow.caller_joined_at), now)
    await db.execute(update(SessionRow).where(col(SessionRow.id) == row.id).values(changes))
    set_committed_value(row, "caller_left_at", changes["caller_left_at"])
    if present and row.caller_joined_at is None:
        set_committed_value(row, "caller_joined_at", now)


async def lock_sessions(db: AsyncSession, session_ids: Collection[str]) -> None:
    """Let nobody else change these sessions until the transaction ends.

    They are locked in one order, so that two who lock the same sessions don't wait for each other.
    """
    these = select(col(SessionRow.id)).where(col(SessionRow.id).in_(session_ids))
    await db.execute(these.order_by(col(SessionRow.id)).with_for_update())


async def mark_erased(
    db: AsyncSession, session_ids: Collection[str], *, now: datetime, **changes: Any
) -> None:
    """From now on no text of these sessions is stored; the time of an earlier erasure stays."""
    erased_at = func.coalesce(col(SessionRow.transcript_erased_at), now)
    await db.execute(_these(session_ids).values(transcript_erased_at=erased_at, **changes))


async def erase_again(db: AsyncSession, session_ids: Collection[str], *, at: datetime | None) -> None:
    """Have the transcripts of these sessions erased once more at a time, or never again."""
    await db.execute(_these(session_ids).values(transcript_erase_again_at=at))


async def mark_deleted(
    db: AsyncSession, session_ids: Collection[str], *which: ColumnElement[bool], now: datetime
) -> int:
    """The transcripts of those of the sessions are deleted for their age; returns how many there are."""
    return await changed(db, _these(session_ids).where(*which).values(transcript_deleted_at=now))


async def delete_sessions(db: AsyncSession, session_ids: Collection[str]) -> None:
    """Delete sessions with their attempts and events. Their turns have to be gone."""
    for child in (EventRow, AttemptRow):
        await db.execute(delete(child).where(col(child.session_id).in_(session_ids)))
    await db.execute(delete(SessionRow).where(col(SessionRow.id).in_(session_ids)))


def _these(session_ids: Collection[str]) -> Update:
    found = update(SessionRow).where(col(SessionRow.id).in_(session_ids))
    return found.execution_options(synchronize_session=False)
