"""The pools of an agent name: their workers, their shares of the sessions, and what is wrong with them."""

from collections.abc import Mapping
from typing import Any

from shared.contracts.causes import Cause
from shared.core.pools.traffic import read_traffic
from shared.core.workers.registry import Fleet
from shared.platform.database.database import Database


async def read_shares(database: Database, agent_name: str) -> Mapping[str, int]:
    """Return the percent of the sessions that name no pool, by pool; none if nothing is shared."""
    async with database.read() as db:
        row = await read_traffic(db, agent_name)
    return {} if row is None else row.shares


def why_shares_fail(
    fleet: Fleet, agent_name: str, shares: Mapping[str, int]
) -> list[tuple[Cause, dict[str, Any], bool]]:
    """Return why sessions that name no pool fail, by cause: with the pools, and whether all would fail."""
    why = {pool: fleet.why_none(agent_name, pool) for pool, share in shares.items() if share}
    fatal = all(why.values())
    pools: dict[Cause, list[dict[str, Any]]] = {}
    for pool, none in why.items():
        if none is not None:
            pools.setdefault(none[0], []).append({"deployment": pool, "percent": shares[pool], **none[1]})
    return [(cause, {"pools": found}, fatal) for cause, found in pools.items()]


def pools_as_json(fleet: Fleet, agent_name: str, shares: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the pools that have workers or a share, as an operator reads them in /health/agent."""
    found = []
    for pool in sorted({*shares, *fleet.pools(agent_name)}):
        none = fleet.why_none(agent_name, pool)
        found.append(
            {
                "deployment": pool,
                "percent": shares.get(pool, 0),
                "registered_workers": len(fleet.named(agent_name, pool)),
                "free_slots": fleet.free_slots(agent_name, pool),
                "cause": none and none[0],
            }
        )
    return found
