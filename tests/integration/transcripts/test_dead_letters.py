"""`rollcall replay` puts dead letters back on their stream: in order, each once, only where they belong."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from cli.main import app
from shared.contracts.keys import DEAD_LETTERS_STREAM, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from shared.platform.redis.dead_letters import replay_dead_letters
from shared.platform.redis.streams import Entry, dead_letter
from tests.support.stream_entries import entries_of

ALL: dict[str, Any] = {"stream": None, "reason": None, "limit": None, "dry_run": False}


async def set_aside(redis: Redis, number: int, reason: str, stream: str = TURNS_STREAM) -> None:
    await dead_letter(redis, stream, Entry(f"{number}-1", {"event": str(number)}), f"{reason}: because")


async def on(redis: Redis, stream: str) -> list[str]:
    return [fields["event"] for _, fields in await entries_of(redis, stream)]


async def test_letters_go_back_in_order_and_are_gone(redis: Redis) -> None:
    for number in range(250):
        await set_aside(redis, number, "malformed")
    outcome = await replay_dead_letters(redis, **ALL)
    assert await on(redis, TURNS_STREAM) == [str(number) for number in range(250)]
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    assert outcome.replayed == {(TURNS_STREAM, "malformed"): 250}


async def test_what_is_put_back_is_what_was_published(redis: Redis) -> None:
    await dead_letter(redis, TURNS_STREAM, Entry("1-1", {"event": "{}", "more": "fields"}), "malformed: x")
    await replay_dead_letters(redis, **ALL)
    assert [fields for _, fields in await entries_of(redis, TURNS_STREAM)] == [
        {"event": "{}", "more": "fields"}
    ]


async def test_only_what_was_asked_for_goes_back(redis: Redis) -> None:
    await set_aside(redis, 1, "malformed")
    await set_aside(redis, 2, "unknown_session")
    await set_aside(redis, 3, "malformed", REPORTS_STREAM)
    await set_aside(redis, 4, "unknown_session")
    await replay_dead_letters(
        redis, **{**ALL, "stream": TURNS_STREAM, "reason": "unknown_session", "limit": 1}
    )
    assert await on(redis, TURNS_STREAM) == ["2"]
    await replay_dead_letters(redis, **{**ALL, "stream": REPORTS_STREAM})
    assert await on(redis, REPORTS_STREAM) == ["3"]
    assert await on(redis, DEAD_LETTERS_STREAM) == ["1", "4"]


async def test_a_dry_run_only_counts(redis: Redis) -> None:
    await set_aside(redis, 1, "malformed")
    outcome = await replay_dead_letters(redis, **{**ALL, "dry_run": True})
    assert outcome.lying.total() == 1
    assert outcome.replayed.total() == 0
    assert await on(redis, DEAD_LETTERS_STREAM) == ["1"]
    assert await redis.xlen(TURNS_STREAM) == 0


async def test_an_entry_cannot_choose_its_stream(redis: Redis) -> None:
    stranger = Entry("1-1", {"event": "{}", "stream": EVENTS_STREAM, "reason": "mine"})
    await dead_letter(redis, TURNS_STREAM, stranger, "malformed: x")
    await redis.xadd(DEAD_LETTERS_STREAM, {"stream": EVENTS_STREAM, "reason": "x", "event": "{}"})
    await replay_dead_letters(redis, **ALL)
    assert await redis.xlen(EVENTS_STREAM) == 0
    assert await redis.xlen(TURNS_STREAM) == 1
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 1


class DiesAfter:
    """A Redis client whose process dies in the middle of a replay."""

    def __init__(self, redis: Redis, calls: int) -> None:
        self._redis = redis
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in ("xadd", "xdel"):
            self._calls -= 1
            if self._calls < 0:
                raise KeyboardInterrupt
        return getattr(self._redis, name)


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 4, 5])
async def test_a_replay_that_dies_loses_nothing(redis: Redis, calls: int) -> None:
    for number in (1, 2, 3):
        await set_aside(redis, number, "malformed")
    with pytest.raises(KeyboardInterrupt):
        await replay_dead_letters(DiesAfter(redis, calls), **ALL)  # type: ignore[arg-type]
    await replay_dead_letters(redis, **ALL)
    found = await on(redis, TURNS_STREAM)
    assert sorted(set(found)) == ["1", "2", "3"]
    assert len(found) <= 4


async def test_the_command_shows_what_lies_there_by_reason(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    await set_aside(redis, 1, "malformed")
    await set_aside(redis, 2, "unknown_session")
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["replay", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "malformed" in shown.output
    assert "unknown_session" in shown.output
    done = await asyncio.to_thread(CliRunner().invoke, app, ["replay", "--json", "--stream", "turns"])
    assert json.loads(done.output)["put_back"] == 2
    assert await redis.xlen(TURNS_STREAM) == 2


def test_without_a_redis_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    missing = CliRunner().invoke(app, ["replay"])
    assert (missing.exit_code, "REDIS_URL" in missing.output) == (1, True)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    away = CliRunner().invoke(app, ["replay"])
    assert (away.exit_code, "doesn't answer" in away.output) == (1, True)
