"""Erase text from Redis: turns on their way, dead letters, and the history kept for a successor."""

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM, history_key
from shared.contracts.text import bounded_id, cleaned
from shared.runtime.erasure import mark_erased

_READ: Final = 500


@dataclass(frozen=True)
class Found:
    """How many entries were removed."""

    stream_entries: int
    dead_letters: int


@dataclass(frozen=True)
class Speaker:
    """Somebody whose words are erased, in whatever session, but for those of other projects.

    `others` tells which of some sessions are another project's.
    """

    identity: str
    others: Callable[[Collection[str]], Awaitable[Collection[str]]]


async def erase_from_redis(redis: Redis, session_ids: Sequence[str], speaker: Speaker | None) -> Found:
    """Mark the sessions for agent workers, and remove what Redis holds of them.

    Raises `redis.exceptions.RedisError` or `OSError`; doing it again does no harm.
    """
    # First the markers: what is sent from now on is not sent at all.
    await mark_erased(redis, session_ids)
    if session_ids:
        await redis.delete(*map(history_key, session_ids))
    wanted = frozenset(session_ids)
    return Found(
        stream_entries=await _clean(redis, TURNS_STREAM, wanted, speaker),
        dead_letters=await _clean(redis, DEAD_LETTERS_STREAM, wanted, speaker),
    )


async def _clean(redis: Redis, stream: str, session_ids: Collection[str], speaker: Speaker | None) -> int:
    """Read the whole stream, a page at a time, and delete the entries that belong to the erased."""
    removed, start = 0, "-"
    while True:
        page: Any = await redis.xrange(stream, min=start, count=_READ)
        identity = None if speaker is None else speaker.identity
        doomed = {
            entry_id: _sessions_in(fields)
            for entry_id, fields in page
            if _belongs(fields or {}, session_ids, identity)
        }
        if speaker is not None and doomed:
            theirs = frozenset(await speaker.others({sid for found in doomed.values() for sid in found}))
            doomed = {entry_id: found for entry_id, found in doomed.items() if not found & theirs}
        if doomed:
            removed += await redis.xdel(stream, *doomed)
        if len(page) < _READ:
            return removed
        start = f"({page[-1][0]}"


def _belongs(fields: dict[str, str], session_ids: Collection[str], identity: str | None) -> bool:
    raw = fields.get(ENVELOPE_FIELD, "")
    try:
        envelope = json.loads(raw)
        data = envelope.get("data") or {}
        session_id = str(envelope.get("subject", "")).removeprefix("session/")
        if session_id in session_ids or data.get("session_id") in session_ids:
            return True
        return identity is not None and bounded_id(cleaned(data.get("participant_identity"))) == identity
    except (ValueError, AttributeError, TypeError):
        # A malformed entry is searched as it is: better one too many than one that stays.
        everything = " ".join(fields.values())
        names = [*session_ids, *([identity] if identity else [])]
        return any(name in everything for name in names)


def _sessions_in(fields: dict[str, str]) -> frozenset[str]:
    """The sessions that an entry names; none of one that can't be read."""
    try:
        envelope = json.loads(fields.get(ENVELOPE_FIELD, ""))
        named = (envelope.get("subject"), (envelope.get("data") or {}).get("session_id"))
    except (ValueError, AttributeError):
        return frozenset()
    return frozenset(str(name).removeprefix("session/") for name in named if name)
