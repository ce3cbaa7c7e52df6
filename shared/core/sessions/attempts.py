"""What several services read and write of attempts. The statements of every session are built once."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import ColumnElement, bindparam, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.database.columns import table_of
from shared.platform.database.database import changed

AttemptKey: TypeAlias = tuple[str, int]

_TABLE: Final = table_of(AttemptRow)
# In one order, so that two who lock the same sessions don't wait for each other.
_LOCKED: Final = (
    select(SessionRow, AttemptRow)
    .join(AttemptRow, col(AttemptRow.session_id) == col(SessionRow.id))
    .where(tuple_(col(AttemptRow.session_id), col(AttemptRow.number)).in_(bindparam("keys", expanding=True)))
    .order_by(col(SessionRow.id))
    .with_for_update(of=(SessionRow, AttemptRow))
)
_INSERT: Final = insert(_TABLE)
_ACCEPTED: Final = (
    update(_TABLE)
    .where(_TABLE.c.session_id == bindparam("of_session"), _TABLE.c.number == bindparam("of_number"))
    .values(
        dispatch_id=bindparam("new_dispatch_id"),
        accepted_at=bindparam("now", type_=_TABLE.c.accepted_at.type),
        outcome=func.coalesce(_TABLE.c.outcome, "accepted"),
    )
)


async def insert_attempt(db: AsyncSession, attempt: AttemptRow) -> None:
    """Insert a new attempt, whose row is no object of `db`."""
    await db.execute(_INSERT, {column.name: getattr(attempt, column.name) for column in _TABLE.columns})


async def accept_attempt(db: AsyncSession, key: AttemptKey, dispatch_id: str, *, now: datetime) -> None:
    """Record LiveKit's dispatch of an attempt; raises `LookupError` if there is no such attempt."""
    these = {"of_session": key[0], "of_number": key[1], "new_dispatch_id": dispatch_id, "now": now}
    if not await changed(db, _ACCEPTED, these):
        raise LookupError(f"session {key[0]} has no attempt {key[1]}")


async def lock_attempts(
    db: AsyncSession, keys: Collection[AttemptKey]
) -> dict[AttemptKey, tuple[SessionRow, AttemptRow]]:
    """Return these attempts with their sessions, which nobody else changes until the transaction ends.

    An attempt that there is not is left out.
    """
    found = (await db.execute(_LOCKED, {"keys": list(keys)})).all()
    return {(attempt.session_id, attempt.number): (session, attempt) for session, attempt in found}


def agent_came() -> ColumnElement[bool]:
    """Return whether the attempt's agent came: its job ran, or it was seen. Otherwise there are no turns."""
    return or_(
        col(AttemptRow.entrypoint_at).is_not(None),
        col(AttemptRow.connected_at).is_not(None),
        col(AttemptRow.active_at).is_not(None),
        col(AttemptRow.closed_at).is_not(None),
        col(AttemptRow.expected_turns).is_not(None),
    )
