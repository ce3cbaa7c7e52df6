"""No cause is ever given to a healthy session."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.census import take_census
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.workers import foreign_worker

pytestmark = pytest.mark.faults

AT_ONCE = 10


async def test_healthy_sessions_get_one_agent_at_the_first_attempt_and_no_cause(
    rollcall: Rollcall, board: Scoreboard, dice: random.Random, full: bool, tmp_path: Path
) -> None:
    wanted = 200 if full else 20
    async with foreign_worker(rollcall.stack, agent_name="healthy", log=tmp_path / "worker.log"):
        for begin in range(0, wanted, AT_ONCE):
            started = await asyncio.gather(
                *(_start_later(rollcall, dice.uniform(0, 1)) for _ in range(min(AT_ONCE, wanted - begin)))
            )
            for session in await take_census(rollcall, board, started, healthy=True):
                assert (session["status"], session["attempt"]) == ("active", 1), session


async def _start_later(rollcall: Rollcall, seconds: float) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return await rollcall.start(agent_name="healthy")
