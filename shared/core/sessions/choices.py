"""Choose what a session runs with, as its agent is asked for: its pool, and the version of its profile."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.core.pools.traffic import SHARES, pool_of
from shared.core.profiles.profiles import NEWEST_VERSION
from shared.core.sessions.tables import SessionRow

_ASKED: Final = select(SHARES, NEWEST_VERSION)


async def choices_for(db: AsyncSession, row: SessionRow) -> dict[str, Any]:
    """Return the columns to set. One that names a pool keeps it, and one without a profile has no version."""
    shares, version = (await db.execute(_ASKED, {"agent_name": row.agent_name})).one()
    pool = pool_of(row.id, shares) if row.deployment is None and shares else row.deployment
    return {"deployment": pool, "profile_version": version}
