"""`rollcall replay` where no API is named: put dead letters back on their stream, on Redis itself."""

import asyncio
import re
from pathlib import Path
from typing import Any

import typer
from redis.exceptions import RedisError

from cli.client.target import complain
from devstack.environment import user_environment
from shared.platform.redis.client import connect_redis
from shared.platform.redis.dead_letters import STREAMS, Outcome, replay_dead_letters


def replay_on_redis(wish: dict[str, Any], state: Path) -> Any:
    """Return what the API would answer to this wish; leaves with exit code 1 if Redis can't be reached."""
    url = find_redis_url(state)
    if url is None:
        complain("no Redis\nset REDIS_URL, or start the stack with `make up`")
        raise typer.Exit(1)
    try:
        outcome = asyncio.run(_replay(url, **{**wish, "stream": STREAMS.get(wish["stream"])}))
    except ValueError as error:
        complain(f"REDIS_URL {error}")
    except (RedisError, OSError) as error:
        complain(f"Redis doesn't answer: {error}")
    else:
        return _as_answer(outcome)
    raise typer.Exit(1)


def find_redis_url(state: Path) -> str | None:
    """Return REDIS_URL, or the Redis of the stack whose state is in this folder."""
    if url := user_environment().get("REDIS_URL"):
        return url.strip()
    config = state / "redis.conf"
    port = re.search(r"^port (\d+)$", config.read_text(), re.MULTILINE) if config.exists() else None
    return f"redis://127.0.0.1:{port[1]}/0" if port else None


async def _replay(url: str, **wish: Any) -> Outcome:
    redis = connect_redis(url)
    try:
        return await replay_dead_letters(redis, **wish)
    finally:
        await redis.aclose()


def _as_answer(outcome: Outcome) -> Any:
    kinds = [
        {"stream": stream, "reason": reason, "found": found, "put_back": outcome.replayed[stream, reason]}
        for (stream, reason), found in sorted(outcome.lying.items())
    ]
    return {"dead_letters": kinds, "put_back": outcome.replayed.total()}
