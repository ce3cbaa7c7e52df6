"""Reservations: sessions whose token is out, and whose caller has not joined yet.

Nothing is dispatched for one. Whoever sees its caller first, LiveKit's webhook or a look at the room, makes
a request of it; all that is counted from the request counts from there.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, literal_column
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import SessionRequested
from shared.contracts.sessions import Mode, SessionStatus
from shared.runtime.sessions import advance
from shared.runtime.tables import SessionRow

# By then the relay has enqueued the dispatch, or the sweep has to.
RELAY_GRACE: Final = timedelta(seconds=1)


def is_reserved() -> ColumnElement[bool]:
    """The reservations, in the words of their index: SQLite uses it for no others."""
    return col(SessionRow.status) == literal_column(f"'{SessionStatus.RESERVED}'")


async def request_reserved(
    db: AsyncSession, row: SessionRow, *, join_budget_s: float, now: datetime, joined: bool
) -> bool:
    """The caller of a reservation comes: an agent is wanted. False if another was first to say so.

    joined: he is in the room, not only on his way into it.
    """
    event = SessionRequested(room_name=row.room_name, agent_name=row.agent_name, mode=Mode(row.mode))
    changes: dict[str, Any] = {"caller_joined_at": now} if joined else {}
    return await advance(
        db,
        row,
        SessionStatus.REQUESTED,
        event=event,
        now=now,
        requested_at=now,
        deadline_at=now + timedelta(seconds=join_budget_s),
        next_check_at=now + RELAY_GRACE,
        **changes,
    )
