"""Erase text from Redis: turns on their way, dead letters, and the history for an agent that takes over."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from shared.contracts.keys import (
    DEAD_LETTERS_STREAM,
    ENVELOPE_FIELD,
    NEWS_CHANNEL,
    TURNS_STREAM,
    history_key,
)
from shared.contracts.text import bounded_id, cleaned
from shared.core.transcripts.erasure import mark_erased
from shared.platform.redis.dead_letters import sessions_in
from shared.platform.redis.hints import give_hints

_READ: Final = 500


@dataclass(frozen=True)
class Found:
    """How many entries an erasure removed."""

    stream_entries: int
    dead_letters: int


@dataclass(frozen=True)
class Speaker:
    """A participant whose words are erased, in every session of the project.

    `projects` returns the project of each of some sessions.
    """

    identity: str
    project: str
    projects: Callable[[Collection[str]], Awaitable[Mapping[str, str]]]

    async def of_others(self, session_ids: Collection[str]) -> set[str]:
        """Return which of the sessions belong to another project."""
        known = await self.projects(session_ids) if session_ids else {}
        return {session_id for session_id, project in known.items() if project != self.project}


async def sessions_on_their_way(redis: Redis, speaker: Speaker) -> set[str]:
    """Return the project's sessions with a turn of the speaker in Redis; raises as `erase_from_redis`."""
    found: set[str] = set()
    for stream in (TURNS_STREAM, DEAD_LETTERS_STREAM):
        async for page in _pages(redis, stream):
            for _, fields in page:
                if _belongs(fields or {}, (), speaker.identity):
                    found |= sessions_in(fields or {})
    known = await speaker.projects(found) if found else {}
    return {session_id for session_id, project in known.items() if project == speaker.project}


async def erase_from_redis(
    redis: Redis, session_ids: Sequence[str], speaker: Speaker | None, *, told: Sequence[str]
) -> Found:
    """Mark the sessions in `told` for agent workers, and remove all text of `session_ids` from Redis.

    Raises `redis.exceptions.RedisError` or `OSError`; repeating it is harmless.
    """
    # First the markers: from now on, workers send no text of these sessions.
    await mark_erased(redis, told)
    await give_hints(redis, session_ids, channel=NEWS_CHANNEL)  # its followers get no captions any more
    if session_ids:
        await redis.delete(*map(history_key, session_ids))
    wanted = frozenset(session_ids)
    return Found(
        stream_entries=await _clean(redis, TURNS_STREAM, wanted, speaker),
        dead_letters=await _clean(redis, DEAD_LETTERS_STREAM, wanted, speaker),
    )


async def _pages(redis: Redis, stream: str) -> AsyncIterator[Any]:
    """Yield the whole stream, some entries at a time."""
    start = "-"
    while True:
        page: Any = await redis.xrange(stream, min=start, count=_READ)
        yield page
        if len(page) < _READ:
            return
        start = f"({page[-1][0]}"


async def _clean(redis: Redis, stream: str, session_ids: Collection[str], speaker: Speaker | None) -> int:
    """Delete the entries that the erasure covers."""
    removed = 0
    identity = None if speaker is None else speaker.identity
    async for page in _pages(redis, stream):
        doomed = {
            entry_id: sessions_in(fields or {})
            for entry_id, fields in page
            if _belongs(fields or {}, session_ids, identity)
        }
        if speaker is not None and doomed:
            theirs = await speaker.of_others({sid for found in doomed.values() for sid in found})
            doomed = {entry_id: found for entry_id, found in doomed.items() if not found & theirs}
        if doomed:
            removed += await redis.xdel(stream, *doomed)
    return removed


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
        # A malformed entry is searched as text: deleting one too many is better than missing one.
        everything = " ".join(fields.values())
        return any(session_id in everything for session_id in session_ids) or (
            identity is not None and _stands_in(everything, identity)
        )


def _stands_in(text: str, identity: str) -> bool:
    """Return whether a text contains the identity as a word of its own, plain or as JSON writes it."""
    spellings = {identity, json.dumps(identity)[1:-1]}
    return any(re.search(rf"(?<!\w){re.escape(spelling)}(?!\w)", text) for spelling in spellings)
