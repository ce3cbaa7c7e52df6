"""How sessions that name no pool are shared between the pools of an agent name."""

from redis.asyncio import Redis

from services.api.agents.schemas import PoolShare, TakenBack, Traffic
from services.api.errors.problems import Problem
from services.api.workers.fleet import fleet_of
from shared.core.pools.traffic import read_traffic
from shared.core.workers.registry import Fleet
from shared.platform.database.database import Database


async def show_traffic(database: Database, redis: Redis, agent_name: str) -> Traffic:
    """Return the shares, and which workers there are for them."""
    async with database.read() as db:
        row = await read_traffic(db, agent_name)
    shares = {} if row is None else row.shares
    fleet = await _fleet(redis)
    seen = [] if fleet is None else fleet.pools(agent_name)
    return Traffic(
        agent_name=agent_name,
        shares=shares,
        changed_at=row and row.changed_at,
        taken_back=[TakenBack.model_validate(taken) for taken in row.taken_back] if row else [],
        pools=[_share(fleet, agent_name, pool, shares.get(pool, 0)) for pool in sorted({*shares, *seen})],
    )


def _share(fleet: Fleet | None, agent_name: str, pool: str, percent: int) -> PoolShare:
    return PoolShare(
        deployment=pool,
        percent=percent,
        workers=None if fleet is None else len(fleet.named(agent_name, pool)),
        free_slots=None if fleet is None else fleet.free_slots(agent_name, pool),
    )


async def _fleet(redis: Redis) -> Fleet | None:
    try:
        return await fleet_of(redis)
    except Problem:
        return None  # the shares are known all the same
