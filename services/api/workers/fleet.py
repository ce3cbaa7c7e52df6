"""The worker registry, as routes read it."""

from redis.asyncio import Redis

from services.api.errors.problems import Problem
from shared.core.workers.registry import Fleet, read_fleet
from shared.platform.redis.streams import UNREACHABLE


async def fleet_of(redis: Redis) -> Fleet:
    """Return the live workers; raises `Problem` if the registry can't be read."""
    try:
        return await read_fleet(redis)
    except UNREACHABLE as error:
        raise registry_unreachable(error) from None


def registry_unreachable(error: Exception) -> Problem:
    """Return the problem of a registry that can't be read."""
    detail = f"the worker registry can't be read, so it is not known which workers live: {error}"
    return Problem(503, "registry_unreachable", detail, headers={"Retry-After": "2"})
