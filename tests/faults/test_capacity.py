"""Sessions wait for capacity: a burst beyond the free slots gets its agents, in the order of the requests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.faults.conftest import CONTROL_PLANE
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import TERMINAL, Rollcall
from tests.support.verdicts import Verdict, until_over
from tests.support.workers import our_worker

pytestmark = pytest.mark.faults

SLOTS = 3
# Sessions that are admitted together may overtake each other.
TOGETHER = 2 * SLOTS


@pytest_asyncio.fixture
async def few_slots(tmp_path: Path) -> AsyncIterator[Rollcall]:
    """A worker of ours with three slots. The budget is long: agents come one after another here."""
    env = clean_environment({"JOIN_BUDGET_S": "90"})
    async with Stack(tmp_path / "stack", env=env, services=[*CONTROL_PLANE, "inference"]) as stack:
        rollcall = Rollcall(stack)
        limits = {"AGENT_MAX_JOBS": str(SLOTS), "AGENT_IDLE_PROCESSES": str(SLOTS)}
        async with our_worker(rollcall, agent_name="few", log=tmp_path / "worker.log", env=limits):
            yield rollcall
        await rollcall.close()


async def test_a_burst_beyond_the_free_slots_waits_in_line_and_all_get_an_agent(
    few_slots: Rollcall, board: Scoreboard, full: bool
) -> None:
    wanted = 30 if full else 12
    started = [await few_slots.start(agent_name="few", canary=True) for _ in range(wanted)]
    ids = [one["session_id"] for one in started]
    places = await _places_seen(few_slots, ids)
    verdicts = [await until_over(few_slots, session_id, timeout_s=120) for session_id in ids]
    board.sessions += wanted
    board.missing_agents += sum(verdict.session["status"] != "ended" for verdict in verdicts)
    board.double_agents += sum(verdict.count("agent.extra_removed.v1") > 0 for verdict in verdicts)
    assert [verdict.session["status"] for verdict in verdicts] == ["ended"] * wanted
    again = [verdict.all("agent.missing.v1") for verdict in verdicts if verdict.session["attempt"] > 1]
    assert not again, "no attempt is wasted"
    _waited(verdicts)
    _in_order(verdicts)
    assert places, "a session in line says at which place"
    assert all(place >= 1 for place in places)


def _waited(verdicts: list[Verdict]) -> None:
    waited = [verdict for verdict in verdicts if verdict.count("session.waiting.v1")]
    assert len(waited) >= len(verdicts) - TOGETHER
    for verdict in waited:
        assert verdict.count("session.waiting.v1") == 1
        assert verdict.all("session.waiting.v1")[0]["cause"] == "workers_at_capacity"


def _in_order(verdicts: list[Verdict]) -> None:
    in_line = [verdict for verdict in verdicts if verdict.count("session.waiting.v1")]
    dispatched = sorted(range(len(in_line)), key=lambda n: _dispatched_at(in_line[n]))
    for position, number in enumerate(dispatched):
        assert abs(position - number) < SLOTS, f"not in the order of request: {dispatched}"


def _dispatched_at(verdict: Verdict) -> str:
    return next(str(event["time"]) for event in verdict.events if event["type"] == "dispatch.started.v1")


async def _places_seen(rollcall: Rollcall, ids: list[str]) -> list[int]:
    """Collect every place in line that the API shows meanwhile."""
    places: list[int] = []
    while True:
        sessions: list[dict[str, Any]] = await asyncio.gather(*(rollcall.session(i) for i in ids))
        places += [s["place_in_line"] for s in sessions if s.get("place_in_line") is not None]
        if places or all(session["status"] in TERMINAL for session in sessions):
            return places
        await asyncio.sleep(0.05)
