"""Which pool a session goes to that names none: by the shares that an operator has set."""

import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.events import ShareTakenBack
from shared.core.pools.tables import TrafficRow
from shared.platform.database.database import changed
from shared.platform.database.insert import insert_into

# The shares of the pools of `agent_name`, or null, as a part of a statement.
SHARES: Final = (
    select(col(TrafficRow.shares))
    .where(col(TrafficRow.agent_name) == bindparam("agent_name"))
    .scalar_subquery()
)


async def read_traffic(db: AsyncSession, agent_name: str) -> TrafficRow | None:
    """Return the shares of an agent name's pools; None if none are set."""
    return await db.get(TrafficRow, agent_name)


async def set_traffic(db: AsyncSession, agent_name: str, shares: Mapping[str, int], *, now: datetime) -> None:
    """Set the shares, in percent; none at all takes them away."""
    if not shares:
        await db.execute(delete(TrafficRow).where(col(TrafficRow.agent_name) == agent_name))
        return
    values = {"shares": dict(shares), "changed_at": now, "taken_back": []}
    row = insert_into(db, TrafficRow).values(agent_name=agent_name, **values)
    await db.execute(row.on_conflict_do_update(index_elements=["agent_name"], set_=values))


async def take_back(
    db: AsyncSession,
    row: TrafficRow,
    shares: Mapping[str, int],
    events: Sequence[ShareTakenBack],
    *,
    now: datetime,
) -> bool:
    """Set the shares without failing pools; return False if somebody has set them meanwhile."""
    told = [{**event.model_dump(mode="json"), "at": now.isoformat()} for event in events]
    unchanged = update(TrafficRow).where(
        col(TrafficRow.agent_name) == row.agent_name, col(TrafficRow.changed_at) == row.changed_at
    )
    values = {"shares": dict(shares), "changed_at": now, "taken_back": [*row.taken_back, *told]}
    return bool(await changed(db, unchanged.values(values)))


def pool_of(session_id: str, shares: Mapping[str, int]) -> str:
    """Return the pool of a session that names none: of many sessions, each pool gets its share.

    By the session's id: whoever asks again gets the same pool, as long as the shares are the same.
    """
    pools = sorted(shares)
    ends = list(accumulate(shares[pool] for pool in pools))
    return pools[bisect_right(ends, zlib.crc32(session_id.encode()) % ends[-1])]
