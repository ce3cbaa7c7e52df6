"""Choose what a session runs with, as its agent is asked for: its pool, and the version of its profile."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.core.pools.traffic import pool_of, shares_of
from shared.core.profiles.profiles import newest_version
from shared.core.sessions.tables import SessionRow


async def choices_for(db: AsyncSession, row: SessionRow) -> dict[str, Any]:
    """Return the columns to set. One that names a pool keeps it, and one without a profile has no version."""
    asked = select(shares_of(row.agent_name), newest_version(row.agent_name))
    shares, version = (await db.execute(asked)).one()
    pool = pool_of(row.id, shares) if row.deployment is None and shares else row.deployment
    return {"deployment": pool, "profile_version": version}
