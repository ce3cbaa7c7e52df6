"""No cause is ever given to a healthy session."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.census import take_census
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall

pytestmark = pytest.mark.faults

AT_ONCE = 10


async def test_healthy_sessions_get_one_agent_at_the_first_attempt_and_no_cause(
    rollcall: Rollcall, joiner: str, board: Scoreboard, dice: random.Random, full: bool
) -> None:
    async def start_later(seconds: float) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return await rollcall.start(agent_name=joiner)

    wanted = 200 if full else 20
    for begin in range(0, wanted, AT_ONCE):
        started = await asyncio.gather(
            *(start_later(dice.uniform(0, 1)) for _ in range(min(AT_ONCE, wanted - begin)))
        )
        for session in await take_census(rollcall, board, started, healthy=True):
            assert (session["status"], session["attempt"]) == ("active", 1), session
