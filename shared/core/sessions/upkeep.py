"""Changes to sessions that change no status, and that any process may make at any time.

None of them compares `version`. Each is one statement that contains its own condition, or that is right
whatever another process changes meanwhile. If a task that works on the session must not overlook a change,
the change raises `version`. Transitions and claims are in `repository.py`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, String, Update, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import col

from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.core.sessions.tables import AttemptRow, EventRow, SessionRow
from shared.platform.database.columns import table_of
from shared.platform.database.database import changed

# A table and not an object: these run for every session, and are built once.
_TABLE: Final = table_of(SessionRow)
_OF_ID: Final = _TABLE.c.id == bindparam("of_id")
_AT: Final = bindparam("at", type_=_TABLE.c.next_check_at.type)
_OVER: Final = _TABLE.c.status.in_(TERMINAL)
_CLOSE_AGAIN: Final = update(_TABLE).where(_OF_ID, _OVER).values(next_check_at=_AT)
_WATCH_NOW: Final = (
    update(_TABLE).where(_OF_ID, _TABLE.c.status == SessionStatus.ACTIVE).values(next_check_at=_AT)
)
_SET_ROOM_SID: Final = update(_TABLE).where(_OF_ID).values(room_sid=bindparam("sid"))
_BUT_OF: Final = bindparam("identity", type_=String)
_WATCH_ROOM_NOW: Final = (
    update(_TABLE)
    .where(
        _TABLE.c.room_name == bindparam("room"),
        _TABLE.c.status == SessionStatus.ACTIVE,
        or_(_BUT_OF.is_(None), _TABLE.c.agent_identity.is_distinct_from(_BUT_OF)),
    )
    .values(next_check_at=_AT)
)


async def make_due(db: AsyncSession, *which: ColumnElement[bool], at: datetime) -> int:
    """Make these sessions due at a time, when the sweep enqueues them; return how many there are.

    A task that works on one of them sets the time again when it is done.
    """
    return await changed(db, update(SessionRow).where(*which).values(next_check_at=at))


async def watch_now(db: AsyncSession, session_id: str, *, now: datetime) -> None:
    """Make an active session due now."""
    await db.execute(_WATCH_NOW, {"of_id": session_id, "at": now})


async def watch_room_now(
    db: AsyncSession, room_name: str, *, unless_of: str | None = None, now: datetime
) -> None:
    """Make the active sessions of a room due now, except those whose agent is `unless_of`."""
    await db.execute(_WATCH_ROOM_NOW, {"room": room_name, "identity": unless_of, "at": now})


async def close_again(db: AsyncSession, session_id: str, *, now: datetime, **changes: Any) -> bool:
    """Have the room of an ended session cleared once more; return False if the session is not over.

    An ended session never changes its status again, so no compare-and-set is needed.
    """
    again = _CLOSE_AGAIN.values(**changes) if changes else _CLOSE_AGAIN
    return bool(await changed(db, again, {"of_id": session_id, "at": now}))


async def let_go_on(db: AsyncSession, *waiting: ColumnElement[bool], until: datetime) -> set[str]:
    """Remove the claims of waiting sessions, and return the ids of those that still waited.

    The sweep enqueues them again at `until`. `version` rises, so that a task that read the claim can't renew
    it.
    """
    free = (
        update(SessionRow)
        .where(*waiting)
        .values(claimed_until=None, next_check_at=until, version=SessionRow.version + 1)
        .returning(col(SessionRow.id))
        .execution_options(synchronize_session=False)
    )
    return set((await db.scalars(free)).all())


async def set_room_sid(db: AsyncSession, row: SessionRow, room_sid: str) -> None:
    """Store the sid of the room that the agent is in, and update `row`; the newest value counts."""
    await db.execute(_SET_ROOM_SID, {"of_id": row.id, "sid": room_sid})
    set_committed_value(row, "room_sid", room_sid)


async def note_caller_joined(db: AsyncSession, session_ids: Sequence[str], *, now: datetime) -> None:
    """Store when a caller first joined the room of these sessions; an earlier time stays."""
    first = update(SessionRow).where(
        col(SessionRow.id).in_(session_ids), col(SessionRow.caller_joined_at).is_(None)
    )
    await db.execute(first.values(caller_joined_at=now))


async def note_callers(db: AsyncSession, row: SessionRow, *, present: bool, now: datetime) -> None:
    """Store that a caller is in the room, or since when none is, and update `row`.

    The first time at which a caller joined stays.
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
    """Mark the sessions as erased, so that no text of them is stored; an earlier time stays."""
    erased_at = func.coalesce(col(SessionRow.transcript_erased_at), now)
    await db.execute(_these(session_ids).values(transcript_erased_at=erased_at, **changes))


async def erase_again(db: AsyncSession, session_ids: Collection[str], *, at: datetime | None) -> None:
    """Schedule another erasure of these sessions' transcripts; None cancels it."""
    await db.execute(_these(session_ids).values(transcript_erase_again_at=at))


async def mark_deleted(
    db: AsyncSession, session_ids: Collection[str], *which: ColumnElement[bool], now: datetime
) -> int:
    """Mark these sessions' transcripts as deleted because of their age; return how many there are."""
    return await changed(db, _these(session_ids).where(*which).values(transcript_deleted_at=now))


async def delete_sessions(db: AsyncSession, session_ids: Collection[str]) -> None:
    """Delete sessions with their attempts and events. Their turns must already be deleted."""
    for child in (EventRow, AttemptRow):
        await db.execute(delete(child).where(col(child.session_id).in_(session_ids)))
    await db.execute(delete(SessionRow).where(col(SessionRow.id).in_(session_ids)))


def _these(session_ids: Collection[str]) -> Update:
    found = update(SessionRow).where(col(SessionRow.id).in_(session_ids))
    return found.execution_options(synchronize_session=False)
