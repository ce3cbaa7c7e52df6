"""Dead letters: stream entries that could not be handled, read and put back once the fault is mended.

`streams.dead_letter` writes them. The command line and the API read them by these functions, which raise
`redis.exceptions.RedisError` or `OSError`.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from redis.asyncio import Redis

from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, REPORTS_STREAM, TURNS_STREAM

# Entries go back only to these streams, whatever origin a letter names.
STREAMS: Final = {"turns": TURNS_STREAM, "reports": REPORTS_STREAM}
PAGE: Final = 100
_OURS: Final = ("stream", "entry_id", "reason")
_ID: Final = re.compile(r"(\d{1,20})-(\d{1,20})")
_LARGEST_PART: Final = 2**64
_SESSION_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Letter:
    """One dead letter. `reason` is a code; `detail` says more, if the consumer knew more.

    `content` are the fields of the entry as it was on its `stream`.
    """

    id: str
    stream: str
    entry_id: str
    reason: str
    detail: str
    content: dict[str, str]

    @classmethod
    def of(cls, letter_id: str, fields: dict[str, str]) -> "Letter":
        """Parse an entry of the dead letters."""
        content = {name: value for name, value in fields.items() if name not in _OURS}
        reason, _, detail = fields.get("reason", "").partition(":")
        return cls(
            letter_id, fields.get("stream", ""), fields.get("entry_id", ""), reason, detail.strip(), content
        )

    @property
    def set_aside_at(self) -> datetime:
        """The time of the Redis server that is in the letter's id."""
        return datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, UTC)

    @property
    def can_go_back(self) -> bool:
        """Whether it is from one of our streams, and still has what was on it."""
        return self.stream in STREAMS.values() and bool(self.content)

    @property
    def sessions(self) -> frozenset[str]:
        """The sessions that it names."""
        return sessions_in(self.content)


def sessions_in(fields: dict[str, str]) -> frozenset[str]:
    """Return the sessions that an entry names.

    For an unreadable entry, return all that appear anywhere in it.
    """
    try:
        envelope = json.loads(fields.get(ENVELOPE_FIELD, ""))
        named = (envelope.get("subject"), (envelope.get("data") or {}).get("session_id"))
    except (ValueError, AttributeError):
        return frozenset(_SESSION_ID.findall(" ".join(fields.values())))
    return frozenset(str(name).removeprefix("session/") for name in named if name)


def is_letter_id(text: str) -> bool:
    """Return whether Redis takes this text for the id of an entry."""
    parts = _ID.fullmatch(text)
    return parts is not None and all(int(part) < _LARGEST_PART for part in parts.groups())


@dataclass
class Outcome:
    """How many letters there are, by stream and reason, and how many were put back."""

    lying: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: Counter[tuple[str, str]] = field(default_factory=Counter)


Among = Callable[[Sequence[Letter]], Awaitable[Iterable[Letter]]]
"""Chooses letters that somebody may see and put back."""


async def everybody(letters: Sequence[Letter]) -> Iterable[Letter]:
    """Choose all letters, as whoever reaches Redis may."""
    return letters


async def replay_dead_letters(
    redis: Redis,
    *,
    stream: str | None,
    reason: str | None,
    limit: int | None,
    dry_run: bool,
    among: Among = everybody,
) -> Outcome:
    """Put matching letters back in order, each once.

    A letter is removed only after it is on its stream again. If the replay dies in between, the next one puts
    that letter back a second time, and its consumer handles it once.
    """
    outcome = Outcome()
    async with aclosing(_oldest_first(redis)) as pages:
        async for page in pages:
            for letter in await among(page):
                kind = (letter.stream, letter.reason)
                outcome.lying[kind] += 1
                if not letter.can_go_back:
                    continue
                if stream not in (None, letter.stream) or reason not in (None, letter.reason):
                    continue
                if dry_run or (limit is not None and outcome.replayed.total() >= limit):
                    continue
                await put_back(redis, letter)
                outcome.replayed[kind] += 1
    return outcome


async def put_back(redis: Redis, letter: Letter) -> None:
    """Put a letter that can go back on its stream again, and remove it from the dead letters."""
    await redis.xadd(letter.stream, dict[Any, Any](letter.content))
    await delete_letter(redis, letter.id)


async def delete_letter(redis: Redis, letter_id: str) -> bool:
    """Delete a letter with what it holds; return whether it was there."""
    return bool(await redis.xdel(DEAD_LETTERS_STREAM, letter_id))


async def find_letter(redis: Redis, letter_id: str) -> Letter | None:
    """Return the letter of this id, which may be any text; None if there is none."""
    if not is_letter_id(letter_id):
        return None
    found: Any = await redis.xrange(DEAD_LETTERS_STREAM, min=letter_id, max=letter_id)
    return Letter.of(*found[0]) if found else None


async def newest_dead_letters(redis: Redis, *, before: str | None) -> list[Letter]:
    """Return up to `PAGE` letters that are older than the one with the id `before`, newest first."""
    newest = "+" if before is None else f"({before}"
    page: Any = await redis.xrevrange(DEAD_LETTERS_STREAM, max=newest, count=PAGE)
    return [Letter.of(letter_id, fields) for letter_id, fields in page]


async def _oldest_first(redis: Redis) -> AsyncGenerator[list[Letter], None]:
    """Yield the current letters, without those that a consumer sets aside again meanwhile."""
    newest: Any = await redis.xrevrange(DEAD_LETTERS_STREAM, count=1)
    if not newest:
        return
    start = "-"
    while True:
        page: Any = await redis.xrange(DEAD_LETTERS_STREAM, min=start, max=newest[0][0], count=PAGE)
        if not page:
            return
        yield [Letter.of(letter_id, fields) for letter_id, fields in page]
        start = f"({page[-1][0]}"
