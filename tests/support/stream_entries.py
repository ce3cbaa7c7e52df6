"""The entries of a Redis stream, with the types of a decoding client."""

from typing import Any

from redis.asyncio import Redis


async def entries_of(redis: Redis, stream: str) -> list[tuple[str, dict[str, str]]]:
    """The id and the fields of each entry, in order."""
    found: Any = await redis.xrange(stream)
    return list(found)
