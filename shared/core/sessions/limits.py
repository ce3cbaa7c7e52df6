"""How many sessions of a key, and of a project, may live at the same time.

They are counted in the transaction that makes one more, whether a client starts it or the caller of a
reservation comes: one after the other in each project, and so exactly. Far below a limit a start need not
wait for that.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.sessions import LIVE, SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.tables import SessionRow

_LOCK: Final = "rollcall:limit"
# A reservation costs no agent, and most of those that pages make are never used.
_WITH_AN_AGENT: Final = LIVE - {SessionStatus.RESERVED}
# As many sessions as five replicas have connections to write them with.
MOST_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Exceeded:
    """Whose limit is reached (`key` or `project`), how many there may be, and how many there are."""

    of: str
    most: int
    live: int

    @property
    def evidence(self) -> dict[str, Any]:
        """What a refused session's history tells."""
        return {"limit": self.of, "most": self.most, "live": self.live}


async def may_surely_start(
    db: AsyncSession, *, project: str, key_id: str | None, limits: SessionLimitSettings
) -> bool:
    """True if there is room for one more session, and for all that are written at the same moment.

    To be called on the connection that writes it then: there are few of those.
    """
    counted = await _count_live(db, project, key_id, limits)
    return all(found.most - found.live >= MOST_AT_ONCE for found in counted)


async def find_exceeded(
    db: AsyncSession, *, project: str, key_id: str | None, limits: SessionLimitSettings
) -> Exceeded | None:
    """The limit that has no room for one more session of this key, or None.

    To be called in the transaction that makes one more: until that ends, no other of the project is made
    that needs a count.
    """
    if not _limits_of(key_id, limits):
        return None
    if db.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
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
