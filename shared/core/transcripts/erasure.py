"""Erased transcripts without the database: markers for agent workers, and what remains of a turn.

Agent workers have no access to the database (`shared.core.transcripts.erasure_rows`). They read markers in
Redis before they send turns from their spools.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis

from shared.contracts.events import TurnFinished
from shared.contracts.keys import erased_key

# For a spool that was offline for longer, the database's row still keeps the text out.
MARKER_TTL: Final = timedelta(days=30)

# Fields that say that something was done, and contain nothing that was said.
_WORDLESS_EXTRA: Final = ("call_id", "name", "is_error", "old_agent_id", "new_agent_id")


async def mark_erased(redis: Redis, session_ids: Iterable[str]) -> None:
    """Set the sessions' markers for agent workers; raises `redis.exceptions.RedisError` or `OSError`."""
    async with redis.pipeline(transaction=False) as pipe:
        for session_id in session_ids:
            pipe.set(erased_key(session_id), "1", ex=MARKER_TTL)
        await pipe.execute()


async def is_erased(redis: Redis, session_id: str) -> bool:
    """Return whether the session's text must not be sent; raises like `mark_erased`."""
    return bool(await redis.exists(erased_key(session_id)))


def without_text(turn: TurnFinished) -> TurnFinished:
    """Return the turn with its times, latencies and roles, and without its text."""
    return turn.model_copy(update={"text": "", "cut_from_bytes": None, "extra": wordless(turn.extra)})


def wordless(extra: dict[str, Any]) -> dict[str, Any]:
    """Return the names in a turn's `extra`, without arguments, answers and unknown fields."""
    return {name: extra[name] for name in _WORDLESS_EXTRA if name in extra}
