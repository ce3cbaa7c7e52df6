"""The wait queue: sessions that can't be dispatched now, what they wait for, and their order.

A waiting session has a `waiting_for` and is claimed until its deadline, so that no task takes it.
services/verifier/admit/admission.py removes the claim when the session may go on. Each pool of an agent name
has a queue of its own, in the order of the requests; a reservation's request is its caller's join.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, String, and_, bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.causes import Cause
from shared.contracts.events import SessionWaiting
from shared.contracts.sessions import UNDISPATCHED
from shared.core.sessions.repository import claim, record
from shared.core.sessions.tables import SessionRow
from shared.platform.database.columns import UtcDateTime

# Causes that end with the next free slot of a worker.
FULL: Final = frozenset({Cause.WORKERS_AT_CAPACITY, Cause.WORKER_DRAINING})


# The order of a queue. Of two requests at the same time, the older id goes first.
IN_LINE: Final = (col(SessionRow.requested_at), col(SessionRow.id))


# Whose line it is.
POOL: Final = func.coalesce(col(SessionRow.deployment), "")


# Sessions of the same agent name and pool with older requests. The parameters are those of `_place`.
_IS_BEFORE: Final = and_(
    col(SessionRow.agent_name) == bindparam("agent_name"),
    bindparam("pool") == POOL,
    tuple_(*IN_LINE) < tuple_(bindparam("requested_at", type_=UtcDateTime()), bindparam("id", type_=String)),
)


def _place(row: SessionRow) -> dict[str, Any]:
    return {
        "agent_name": row.agent_name,
        "pool": row.pool,
        "requested_at": row.requested_at,
        "id": row.id,
    }


def is_waiting(now: "datetime | BindParameter[datetime]") -> ColumnElement[bool]:
    """Return the condition for waiting sessions."""
    return and_(has_waited(), col(SessionRow.claimed_until) > now)


def has_waited() -> ColumnElement[bool]:
    """Return the condition for sessions that have a place in line, also when they may go on by now."""
    return and_(
        col(SessionRow.waiting_for).is_not(None),
        col(SessionRow.status).in_(UNDISPATCHED),
    )


# Built once: the first runs for every session.
_FIRST: Final = (
    select(col(SessionRow.waiting_for))
    .where(is_waiting(bindparam("now", type_=UtcDateTime())), _IS_BEFORE)
    .order_by(*IN_LINE)
    .limit(1)
)
_AHEAD: Final = select(func.count()).where(has_waited(), _IS_BEFORE)


async def waits_behind(db: AsyncSession, row: SessionRow, now: datetime) -> Cause | None:
    """Return what the first session in the queue waits for, if an older session is in it; None if not."""
    if row.waiting_for in FULL:
        return None  # the session itself was let go on
    cause = await db.scalar(_FIRST, _place(row) | {"now": now})
    return None if cause is None else Cause(cause)


async def wait_in_line(
    db: AsyncSession, row: SessionRow, cause: Cause, evidence: dict[str, Any], now: datetime
) -> bool:
    """Make the session wait; return True if it did not wait before.

    If another process changed it first, do nothing.
    """
    is_news = row.waiting_for != cause
    deadline = row.deadline_at
    if not await claim(db, row, waiting_for=cause, claimed_until=deadline, next_check_at=deadline):
        return False
    if is_news:
        event = SessionWaiting(cause=cause, place=await place_in_line(db, row), evidence=evidence)
        await record(db, row, event, now=now)
    return is_news


async def place_in_line(db: AsyncSession, row: SessionRow) -> int | None:
    """Return the session's place in the queue: 1 is the next; None if it waits for no slot."""
    if row.waiting_for not in FULL or row.status not in UNDISPATCHED:
        return None
    return 1 + (await db.scalar(_AHEAD, _place(row)) or 0)
