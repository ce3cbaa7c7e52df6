"""Count, at the end of a run: second agents, missing agents, stuck sessions and false causes.

A session has two agents if both stay. Between the event that settles a session and the last call to LiveKit,
an agent may be listed that Rollcall is removing: the late one of an earlier attempt, or the one of a session
that has just failed. So an active session is counted once it has no more than one, and a failed one
once it has none. Whoever is there after `LEAVING_S` is counted.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.support.scoreboard import Scoreboard
from tests.support.sessions import TERMINAL, Rollcall, until

SETTLED = {"active", *TERMINAL}
# The verifier looks at an active session every 10 s at the latest, and at a failed one again after 10 s.
LEAVING_S = 15.0


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
    agents = await _agents_that_stay(rollcall, one["room_name"], session)
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


async def _agents_that_stay(rollcall: Rollcall, room_name: str, session: dict[str, Any]) -> list[str]:
    """Return the agents in the room, once those that Rollcall removes are gone."""
    most = 1 if session["status"] == "active" else 0

    async def left() -> bool:
        return len(await rollcall.agents_in(room_name)) <= most

    if session["status"] in SETTLED:
        with suppress(AssertionError):  # the caller counts those that are still there
            await until(left, what="the agents that Rollcall removes are gone", timeout_s=LEAVING_S)
    return await rollcall.agents_in(room_name)


async def _causes(rollcall: Rollcall, session_id: str) -> list[str]:
    events = await rollcall.events(session_id)
    return [event["data"]["cause"] for event in events if event["data"].get("cause")]
