"""Reservations: sessions whose client has a token, and whose caller has not joined yet.

A reservation dispatches nothing. Whichever sees its caller first, LiveKit's webhook or a look at the room,
turns it into a request. Budget and timings count from that moment, and so do the limits of its key and
project. A reservation beyond the limits is cancelled with a cause, which its caller gets in the room (ADR
34).
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
from shared.core.sessions.choices import choices_for
from shared.core.sessions.limits import Exceeded, find_exceeded
from shared.core.sessions.repository import advance, end
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# By then the relay has enqueued the dispatch; otherwise the sweep does.
RELAY_GRACE: Final = timedelta(seconds=1)
REFUSED: Final = "too many sessions"


def is_reserved() -> ColumnElement[bool]:
    """Return the condition for reservations, exactly as in their index.

    Otherwise SQLite does not use the index.
    """
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
    """Turn a reservation into a request, because its caller comes. Return the session's new status.

    The status is `requested`, or `cancelled` if its key or project has reached its limit. It is None if
    another process was first, or if the session is beyond the limit and its caller is not in the room yet.

    `joined` says that the caller is already in the room, not only about to join.
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
    changes |= await choices_for(db, row)
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
    """Cancel the session. It is not failed: no agent failed to come, and visitors must not cause alerts."""
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
