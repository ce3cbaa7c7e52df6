"""Limits on how many sessions of a key and of a project may be live at the same time.

Sessions are counted in the transaction that adds one, when a client starts a session or a reservation's
caller comes. In each project these transactions run one after the other, so the count is exact. Far below a
limit, a start need not wait for others.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.sessions import LIVE, SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.tables import SessionRow
from shared.platform.database.insert import is_on_postgres

_LOCK: Final = "rollcall:limit"
# A reservation needs no agent, and most reservations of web pages are never used.
_WITH_AN_AGENT: Final = LIVE - {SessionStatus.RESERVED}
# As many sessions as five replicas have connections for writing them.
MOST_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Exceeded:
    """The limit that is reached: whose it is (`key` or `project`), the limit, and the current number."""

    of: str
    most: int
    live: int

    @property
    def evidence(self) -> dict[str, Any]:
        """Return the evidence for a refused session's history."""
        return {"limit": self.of, "most": self.most, "live": self.live}


async def may_surely_start(
    db: AsyncSession, *, project: str, key_id: str | None, limits: SessionLimitSettings
) -> bool:
    """Return whether there is room for one more session, and for all that are written at the same moment.

    Call it on the connection that then writes the session, since there are few of those.
    """
    counted = await _count_live(db, project, key_id, limits)
    return all(found.most - found.live >= MOST_AT_ONCE for found in counted)


async def find_exceeded(
    db: AsyncSession, *, project: str, key_id: str | None, limits: SessionLimitSettings
) -> Exceeded | None:
    """Return the limit that has no room for one more session of this key; None if there is room.

    Call it in the transaction that adds the session. Until that ends, no other transaction of the project can
    count.
    """
    if not _limits_of(key_id, limits):
        return None
    if is_on_postgres(db):  # SQLite has one writer at a time anyway
        await db.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"{_LOCK}:{project}"))))
    counted = await _count_live(db, project, key_id, limits)
    return next((found for found in counted if found.live >= found.most), None)


def _limits_of(key_id: str | None, limits: SessionLimitSettings) -> dict[str, int]:
    if key_id is None:
        return {}
    found = {"project": limits.max_sessions_project, "key": limits.max_sessions_key}
    return {of: most for of, most in found.items() if most}


async def _count_live(
    db: AsyncSession, project: str, key_id: str | None, limits: SessionLimitSettings
) -> list[Exceeded]:
    wanted = _limits_of(key_id, limits)
    if not wanted:
        return []
    of_key = func.count().filter(col(SessionRow.api_key_id) == key_id)
    query = select(func.count().label("project"), of_key.label("key")).where(
        col(SessionRow.project) == project, col(SessionRow.status).in_(_WITH_AN_AGENT)
    )
    live = (await db.execute(query)).one()
    return [Exceeded(of, most, getattr(live, of)) for of, most in wanted.items()]
