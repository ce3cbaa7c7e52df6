"""Erased transcripts, without the database: how agent workers are told, and what remains of a turn.

Agent workers have no access to the database (`shared.core.transcripts.erasure_rows`). Markers in Redis tell
them: they look before they send what is in their spools.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis

from shared.contracts.events import TurnFinished
from shared.contracts.keys import erased_key

# A worker's spool that has been away for longer is refused by the database's row.
MARKER_TTL: Final = timedelta(days=30)

# What says that something was done, and nothing of what was said.
_WORDLESS_EXTRA: Final = ("call_id", "name", "is_error", "old_agent_id", "new_agent_id")


async def mark_erased(redis: Redis, session_ids: Iterable[str]) -> None:
    """Tell agent workers; raises `redis.exceptions.RedisError` or `OSError`."""
    async with redis.pipeline(transaction=False) as pipe:
        for session_id in session_ids:
            pipe.set(erased_key(session_id), "1", ex=MARKER_TTL)
        await pipe.execute()


async def is_erased(redis: Redis, session_id: str) -> bool:
    """Whether the session's text must be dropped unsent; raises as above."""
    return bool(await redis.exists(erased_key(session_id)))


def without_text(turn: TurnFinished) -> TurnFinished:
    """The turn with its times, latencies and roles, and without a word of what was said."""
    return turn.model_copy(update={"text": "", "cut_from_bytes": None, "extra": wordless(turn.extra)})


def wordless(extra: dict[str, Any]) -> dict[str, Any]:
    """The part of a turn's `extra` that names things, without arguments, answers, or what is unknown."""
    return {name: extra[name] for name in _WORDLESS_EXTRA if name in extra}
