"""Reservations: sessions whose token is out, and whose caller has not joined yet.

Nothing is dispatched for one. Whoever sees its caller first, LiveKit's webhook or a look at the room, makes
a request of it; all that is counted from the request counts from there, and so do the limits of its key and
project. One too many is refused: it is cancelled with a cause, which its caller is told in the room (ADR 34).
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, literal_column
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.causes import Cause
from shared.contracts.events import SessionCancelled, SessionRequested
from shared.contracts.sessions import Mode, SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.limits import Exceeded, find_exceeded
from shared.core.sessions.repository import advance, end
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# By then the relay has enqueued the dispatch, or the sweep has to.
RELAY_GRACE: Final = timedelta(seconds=1)
REFUSED: Final = "too many sessions"


def is_reserved() -> ColumnElement[bool]:
    """The reservations, in the words of their index: SQLite uses it for no others."""
    return col(SessionRow.status) == literal_column(f"'{SessionStatus.RESERVED}'")


async def request_reserved(
    db: AsyncSession,
    row: SessionRow,
    *,
    limits: SessionLimitSettings,
    join_budget_s: float,
    now: datetime,
    joined: bool,
) -> SessionStatus | None:
    """The caller of a reservation comes: an agent is wanted. Returns what has become of the session.

    `requested`; or `cancelled`, since its key or project has as many sessions as it may have; or None:
    another was first to say so, or the session is one too many and nobody is there yet who could be told.

    joined: he is in the room, not only on his way into it.
    """
    exceeded = await find_exceeded(db, project=row.project, key_id=row.api_key_id, limits=limits)
    if exceeded is None:
        return await _request(db, row, join_budget_s=join_budget_s, now=now, joined=joined)
    return await _refuse(db, row, exceeded, now=now) if joined else None


async def _request(
    db: AsyncSession, row: SessionRow, *, join_budget_s: float, now: datetime, joined: bool
) -> SessionStatus | None:
    event = SessionRequested(room_name=row.room_name, agent_name=row.agent_name, mode=Mode(row.mode))
    changes: dict[str, Any] = {"caller_joined_at": now} if joined else {}
    won = await advance(
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
    return SessionStatus.REQUESTED if won else None


async def _refuse(
    db: AsyncSession, row: SessionRow, exceeded: Exceeded, *, now: datetime
) -> SessionStatus | None:
    """Cancelled, not failed: no agent has failed to come, and no visitor of a page may raise an alarm."""
    cause, evidence = Cause.TOO_MANY_SESSIONS, exceeded.evidence
    won = await end(
        db,
        row,
        SessionStatus.CANCELLED,
        event=SessionCancelled(reason=REFUSED, cause=cause, evidence=evidence),
        now=now,
        cause=cause,
        evidence=evidence,
        end_reason=REFUSED,
        caller_joined_at=now,
    )
    if not won:
        return None
    with bound_to(row):
        log.warning("reservation_refused", **evidence)
    return SessionStatus.CANCELLED
