"""Count, at the end of a run: second agents, missing agents, stuck sessions and false causes."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.support.scoreboard import Scoreboard
from tests.support.sessions import TERMINAL, Rollcall, until

SETTLED = {"active", *TERMINAL}


async def take_census(
    rollcall: Rollcall,
    board: Scoreboard,
    started: Sequence[dict[str, Any]],
    *,
    healthy: bool = False,
    timeout_s: float = 90.0,
) -> list[dict[str, Any]]:
    """Wait until the sessions have settled, count them on the board, and end them. All counts must be 0.

    Each session must have exactly one agent in its room, or have failed with a cause. If `healthy`, no
    session may ever have had a cause. Returns the sessions.
    """

    async def settled() -> bool:
        return all([(await rollcall.session(one["session_id"]))["status"] in SETTLED for one in started])

    before = board.counts()
    with suppress(AssertionError):  # counted below, one by one
        await until(settled, what="every session has an agent or a cause", timeout_s=timeout_s)
    found = [await _count(rollcall, board, one, healthy=healthy) for one in started]
    board.sessions += len(started)
    await asyncio.gather(*(rollcall.end(one["session_id"]) for one in started))
    assert board.counts() == before, (board.counts(), [s for s in found if s["wrong"]])
    return found


async def _count(
    rollcall: Rollcall, board: Scoreboard, one: dict[str, Any], *, healthy: bool
) -> dict[str, Any]:
    session = await rollcall.session(one["session_id"])
    agents = await rollcall.agents_in(one["room_name"])
    active = session["status"] == "active"
    wrong = {
        "double_agents": len(agents) > 1,
        "missing_agents": active and not agents,
        "stuck_sessions": session["status"] not in SETTLED,
        "false_causes": bool(healthy and await _causes(rollcall, one["session_id"])),
    }
    if session["status"] == "failed":
        wrong["missing_agents"] |= session["failure"] is None
        wrong["double_agents"] |= bool(agents)
    for count, yes in wrong.items():
        setattr(board, count, getattr(board, count) + yes)
    return {**session, "agents": agents, "wrong": [count for count, yes in wrong.items() if yes]}


async def _causes(rollcall: Rollcall, session_id: str) -> list[str]:
    events = await rollcall.events(session_id)
    return [event["data"]["cause"] for event in events if event["data"].get("cause")]
