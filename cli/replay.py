"""`rollcall replay`: put dead letters back on their stream, once the fault is fixed."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.client.target import complain
from devstack.environment import user_environment
from devstack.log_console import make_console
from shared.contracts.keys import DEAD_LETTERS_STREAM, REPORTS_STREAM, TURNS_STREAM
from shared.platform.plain_text import one_line
from shared.platform.redis.client import connect_redis

# Entries go back only to these streams, whatever origin a letter names.
STREAMS: Final = {"turns": TURNS_STREAM, "reports": REPORTS_STREAM}
PAGE: Final = 100
_OURS: Final = ("stream", "entry_id", "reason")


@dataclass(frozen=True)
class Letter:
    """One dead letter."""

    id: str
    stream: str
    reason: str
    content: dict[str, str]

    @classmethod
    def of(cls, entry_id: str, fields: dict[str, str]) -> "Letter":
        """Parse an entry of the dead letters."""
        content = {name: value for name, value in fields.items() if name not in _OURS}
        reason = fields.get("reason", "").partition(":")[0]
        return cls(entry_id, fields.get("stream", ""), reason, content)


@dataclass
class Outcome:
    """How many letters there are, by stream and reason, and how many were put back."""

    lying: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: Counter[tuple[str, str]] = field(default_factory=Counter)


async def replay_dead_letters(
    redis: Redis, *, stream: str | None, reason: str | None, limit: int | None, dry_run: bool
) -> Outcome:
    """Put matching letters back in order, each once; raises `RedisError` or `OSError`.

    A letter is removed only after it is on its stream again. If the replay dies in between, the next one puts
    that letter back a second time, and its consumer handles it once.
    """
    outcome = Outcome()
    async with aclosing(_dead_letters(redis)) as letters:
        async for letter in letters:
            kind = (letter.stream, letter.reason)
            outcome.lying[kind] += 1
            if letter.stream not in STREAMS.values() or not letter.content:
                continue
            if stream not in (None, letter.stream) or reason not in (None, letter.reason):
                continue
            if dry_run or (limit is not None and outcome.replayed.total() >= limit):
                continue
            await redis.xadd(letter.stream, dict[Any, Any](letter.content))
            await redis.xdel(DEAD_LETTERS_STREAM, letter.id)
            outcome.replayed[kind] += 1
    return outcome


async def _dead_letters(redis: Redis) -> AsyncGenerator[Letter, None]:
    """Yield the current letters, without those that a consumer sets aside again meanwhile."""
    newest: Any = await redis.xrevrange(DEAD_LETTERS_STREAM, count=1)
    if not newest:
        return
    start = "-"
    while True:
        page: Any = await redis.xrange(DEAD_LETTERS_STREAM, min=start, max=newest[0][0], count=PAGE)
        if not page:
            return
        for entry_id, fields in page:
            yield Letter.of(entry_id, fields)
        start = f"({page[-1][0]}"


def find_redis_url(state: Path) -> str | None:
    """Return REDIS_URL, or the Redis of the stack whose state is in this folder."""
    if url := user_environment().get("REDIS_URL"):
        return url.strip()
    config = state / "redis.conf"
    port = re.search(r"^port (\d+)$", config.read_text(), re.MULTILINE) if config.exists() else None
    return f"redis://127.0.0.1:{port[1]}/0" if port else None


def _show(console: Console, outcome: Outcome) -> None:
    if not outcome.lying:
        console.print("no dead letters")
        return
    table = Table(title="dead letters", title_justify="left")
    for column in ("stream", "reason", "found", "put back"):
        table.add_column(column, justify="left" if column in ("stream", "reason") else "right")
    for (stream, reason), found in sorted(outcome.lying.items()):
        replayed = outcome.replayed[stream, reason]
        table.add_row(Text(one_line(stream)), Text(one_line(reason)), str(found), str(replayed))
    console.print(table)


def _as_json(outcome: Outcome) -> str:
    kinds = [
        {"stream": stream, "reason": reason, "found": found, "put_back": outcome.replayed[stream, reason]}
        for (stream, reason), found in sorted(outcome.lying.items())
    ]
    return json.dumps({"dead_letters": kinds, "put_back": outcome.replayed.total()})


async def _run(url: str, **wish: Any) -> Outcome:
    redis = connect_redis(url)
    try:
        return await replay_dead_letters(redis, **wish)
    finally:
        await redis.aclose()


def run_replay(wish: dict[str, Any], state: Path, *, as_json: bool) -> int:
    """Put letters back, and show the letters; return the exit code. `wish` is for `replay_dead_letters`."""
    console = make_console()
    url = find_redis_url(state)
    if url is None:
        complain("no Redis\nset REDIS_URL, or start the stack with `make up`")
        return 1
    try:
        outcome = asyncio.run(_run(url, **wish))
    except ValueError as error:
        complain(f"REDIS_URL {error}")
        return 1
    except (RedisError, OSError) as error:
        complain(f"Redis doesn't answer: {error}")
        return 1
    if as_json:
        typer.echo(_as_json(outcome))
    else:
        _show(console, outcome)
    return 0
