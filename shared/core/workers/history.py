"""The conversation so far, passed from the dispatcher to the agent that takes over.

The database holds it. Redis only transports it, since an agent worker has no access to the database.
"""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import TypeAdapter
from redis.asyncio import Redis

from shared.contracts.dispatching import PastTurn
from shared.contracts.keys import history_key

HISTORY_TTL = timedelta(minutes=10)

_TURNS = TypeAdapter(list[PastTurn])


async def write_history(redis: Redis, session_id: str, turns: Sequence[PastTurn]) -> None:
    """Write the turns, in order; raises `redis.exceptions.RedisError` or `OSError`."""
    await redis.set(history_key(session_id), _TURNS.dump_json(list(turns)), ex=HISTORY_TTL)


async def read_history(redis: Redis, session_id: str) -> list[PastTurn] | None:
    """Return the turns in order; None if there are none.

    Raises like `write_history`, or `pydantic.ValidationError`.
    """
    value = await redis.get(history_key(session_id))
    return None if value is None else _TURNS.validate_json(value)
