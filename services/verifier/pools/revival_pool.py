"""Which pool a lost agent is replaced in: the session's own, or another one if that is gone."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.verifier.repository import Repository
from shared.core.sessions.tables import SessionRow
from shared.core.workers.registry import read_fleet


async def pool_for_revival(row: SessionRow, *, redis: Redis, repository: Repository) -> str:
    """Return the session's own pool while it lives, or else the pool with the most free slots.

    A pool lives while it has a worker that takes new jobs, now or when a slot gets free. Nobody knows of
    workers that don't report to Rollcall, so their sessions stay where they are.
    """
    try:
        fleet = await read_fleet(redis)
    except (RedisError, OSError):
        return row.pool
    living = {worker.deployment for worker in fleet.named(row.agent_name) if not worker.is_leaving}
    if not living or row.pool in living or not await repository.was_reported(row.id):
        return row.pool
    return max(sorted(living), key=lambda pool: fleet.free_slots(row.agent_name, pool))


def evidence_of_move(row: SessionRow, pool: str, evidence: dict[str, Any]) -> dict[str, Any]:
    """Add to the evidence that the session goes on in another pool, if it does."""
    return evidence if pool == row.pool else {**evidence, "pool": row.pool, "moved_to_pool": pool}
