"""Store and read the versions of an agent name's profile."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.profiles import Profile
from shared.core.profiles.tables import ProfileRow

# The number of the newest version for `agent_name`, or null, as a part of a statement.
NEWEST_VERSION: Final = (
    select(func.max(col(ProfileRow.version)))
    .where(col(ProfileRow.agent_name) == bindparam("agent_name"))
    .scalar_subquery()
)


async def read_version(db: AsyncSession, agent_name: str, version: int | None = None) -> ProfileRow | None:
    """Return one version, by default the newest; None if there is none."""
    if version is None:
        newest = select(ProfileRow).where(col(ProfileRow.agent_name) == agent_name)
        found: ProfileRow | None = await db.scalar(newest.order_by(col(ProfileRow.version).desc()).limit(1))
        return found
    return await db.get(ProfileRow, (agent_name, version))


async def list_newest(db: AsyncSession, *, limit: int, after: str = "") -> Sequence[ProfileRow]:
    """Return the newest version of each agent name after this one, by name."""
    newest = (
        select(col(ProfileRow.agent_name), func.max(col(ProfileRow.version)))
        .where(col(ProfileRow.agent_name) > after)
        .group_by(col(ProfileRow.agent_name))
        .order_by(col(ProfileRow.agent_name))
        .limit(limit)
    )
    found = (await db.execute(newest)).all()
    rows = select(ProfileRow).where(tuple_(col(ProfileRow.agent_name), col(ProfileRow.version)).in_(found))
    return (await db.scalars(rows.order_by(col(ProfileRow.agent_name)))).all()


async def add_version(
    db: AsyncSession, agent_name: str, profile: Profile, *, version: int, key_id: str | None, now: datetime
) -> ProfileRow:
    """Store a version; raises `IntegrityError` if another writer has stored this one."""
    row = ProfileRow(
        agent_name=agent_name,
        version=version,
        profile=profile.model_dump(mode="json", exclude_defaults=True),
        key_id=key_id,
        created_at=now,
    )
    db.add(row)
    await db.flush()
    return row


def profile_of(row: ProfileRow) -> Profile:
    """Return the profile of a row."""
    return Profile.model_validate(row.profile)
