"""The cause for a worker that doesn't report is coarser and still true; without a worker it is exact."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from livekit import api

from devstack.process import Process
from devstack.stack import Stack
from tests.support.guests import guest
from tests.support.scoreboard import Finding, Scoreboard
from tests.support.sessions import TERMINAL, Rollcall, until
from tests.support.verdicts import Verdict, judge, until_over
from tests.support.workers import ODD_WORKER, foreign_worker

pytestmark = pytest.mark.faults

# LiveKit shows the same for these as for no worker at all: a dispatch without a job.
UNSEEN = "no_worker_registered"


@dataclass(frozen=True)
class Scenario:
    """What a foreign worker does, and the causes that are true of it."""

    behaviour: str
    cause: str
    agent_name: str = "odd"
    caller: bool = False
    note: str = ""


SCENARIOS = [
    Scenario("no worker", "no_worker_registered", agent_name="nobody"),
    Scenario("rejects", UNSEEN, note="LiveKit shows a dispatch that nobody took"),
    Scenario("rejects for good", "worker_rejected"),
    Scenario("hangs in on_request", UNSEEN, note="LiveKit shows a dispatch that nobody took"),
    Scenario("never connects", "never_connected"),
    Scenario("raises before connecting", "never_connected", note="never listed: the advice names the log"),
    Scenario("exits", "never_connected", agent_name="mortal", note="exit code 7, unseen by LiveKit"),
]
# An agent that leaves on purpose is no fault, whoever is still in the room.
MEANT = ["leaves", "leaves the room"]
RAISES = "raises after connecting"


@pytest_asyncio.fixture(scope="module")
async def foreigners(
    control_plane: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rollcall]:
    """The control plane with two foreign workers: `odd`, and `mortal`, whose jobs have processes."""
    logs = tmp_path_factory.mktemp("foreign")
    async with AsyncExitStack() as running:
        both = [
            foreign_worker(control_plane, agent_name="odd", log=logs / "odd.log", program=ODD_WORKER),
            foreign_worker(
                control_plane,
                agent_name="mortal",
                log=logs / "mortal.log",
                program=ODD_WORKER,
                env={"ODD_EXECUTOR": "process"},
            ),
        ]
        await asyncio.gather(*(running.enter_async_context(worker) for worker in both))
        rollcall = Rollcall(control_plane)
        running.push_async_callback(rollcall.close)
        yield rollcall


@pytest_asyncio.fixture(scope="module")
async def nobody_comes(foreigners: Rollcall) -> str:
    """A session whose agent waits for a caller. It gives up after a minute, and tests run meanwhile."""
    started = await _start(foreigners, "stays")
    return str(started["session_id"])


@pytest_asyncio.fixture(scope="module")
async def verdicts(foreigners: Rollcall, nobody_comes: str) -> dict[str, Verdict]:
    """All scenarios at once: most take the whole budget."""

    async def play(scenario: Scenario) -> Verdict:
        started = await _start(foreigners, scenario.behaviour, scenario.agent_name)
        async with AsyncExitStack() as callers:
            if scenario.caller:
                await callers.enter_async_context(guest(started))
            return await until_over(foreigners, started["session_id"], timeout_s=90)

    async def meant(how: str) -> Verdict:
        started = await _start(foreigners, how)
        async with guest(started):
            return await until_over(foreigners, started["session_id"])

    async def killed() -> Verdict:
        started = await _start(foreigners, "is killed", "mortal")
        async with guest(started):
            await foreigners.until_event(started["session_id"], "agent.lost.v1")
            await foreigners.end(started["session_id"])
        return await until_over(foreigners, started["session_id"])

    played = {scenario.behaviour: play(scenario) for scenario in SCENARIOS}
    played |= {how: meant(how) for how in (*MEANT, RAISES)}
    played |= {"is killed": killed()}
    found = await asyncio.gather(*played.values())
    return dict(zip(played, found, strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.behaviour)
async def test_the_cause_is_true_of_a_worker_that_tells_us_nothing(
    scenario: Scenario, verdicts: dict[str, Verdict], board: Scoreboard
) -> None:
    who = "" if scenario.agent_name == "nobody" else "foreign worker: "
    verdict = verdicts[scenario.behaviour]
    judge(board, verdict, f"{who}{scenario.behaviour}", scenario.cause, note=scenario.note)


async def test_without_any_worker_the_session_and_the_log_say_what_to_do(
    foreigners: Rollcall, verdicts: dict[str, Verdict]
) -> None:
    session = verdicts["no worker"].session
    assert "Start an agent worker" in session["failure"]["advice"]
    assert session["attempt"] >= 2, "an attempt that nobody took is made again"
    last = verdicts["no worker"].events[-1]
    assert (last["type"], last["severity"]) == ("session.failed.v1", "critical")
    verifier = [json.loads(line) for line in foreigners.stack.process("verifier").log().splitlines()]
    told = [line for line in verifier if line.get("session_id") == session["session_id"]]
    assert "agent_missing" in [line["event"] for line in told]
    [critical] = [line for line in told if line["level"] == "critical"]
    assert critical["message"] == (
        f"CRITICAL: agent dispatch succeeded but agent did not join room {session['room_name']}"
    )
    assert (critical["room"], critical["attempt"]) == (session["room_name"], session["attempt"])
    assert (critical["cause"], critical["advice"]) == ("no_worker_registered", session["failure"]["advice"])
    await foreigners.until_gone(session["room_name"])


@pytest.mark.parametrize("how", MEANT)
async def test_an_end_that_the_agent_meant_is_never_revived(
    how: str, verdicts: dict[str, Verdict], board: Scoreboard
) -> None:
    verdict = verdicts[how]
    board.add(Finding(f"foreign worker: {how}", ("ended: agent left",), _ended(verdict)))
    assert (verdict.session["status"], verdict.session["end_reason"]) == ("ended", "agent left")
    # A slow machine may need a second attempt to bring the agent; none follows the one that did.
    assert (verdict.count("agent.lost.v1"), verdict.count("agent.joined.v1")) == (0, 1)
    assert verdict.session["attempts"][-1]["left_reason"] == "client_initiated"


async def test_an_agent_that_raised_as_it_came_has_left(verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[RAISES]
    if verdict.session["status"] == "ended":
        # On a slow machine it is there for longer than a start that fails takes: see ADR 26.
        assert verdict.session["end_reason"] == "agent left"
        return
    assert (verdict.session["status"], verdict.cause) == ("failed", "agent_left")


async def test_an_agent_that_was_killed_has_not_just_left(
    verdicts: dict[str, Verdict], board: Scoreboard
) -> None:
    lost = verdicts["is killed"].all("agent.lost.v1")[0]
    board.add(Finding("foreign worker: SIGKILL of the job's process", ("worker_died",), lost["cause"]))
    assert lost["evidence"]["reason"] == "connection_timeout"


async def test_an_agent_that_was_there_and_was_lost_did_join(verdicts: dict[str, Verdict]) -> None:
    for scenario in SCENARIOS:
        verdict = verdicts[scenario.behaviour]
        assert verdict.end["data"].get("agent_joined", False) == (verdict.count("agent.joined.v1") > 0)


async def test_a_job_that_never_shows_is_tried_again_and_its_traces_are_kept(
    foreigners: Rollcall, verdicts: dict[str, Verdict]
) -> None:
    verdict = verdicts["raises before connecting"]
    assert verdict.session["attempt"] >= 2
    assert "never listed" in verdict.evidence["sign"]
    first = verdict.session["attempts"][0]
    assert first["job_id"].startswith("AJ_")
    assert first["worker_id"].startswith("AW_")
    assert first["assigned_at"] is not None
    assert verdict.session["room_sid"].startswith("RM_")
    transcript = await foreigners.get(f"/v1/sessions/{verdict.session['session_id']}/transcript")
    assert transcript["complete"] is None, "nobody has said anything that could be complete"


async def test_another_attempt_helps_where_the_first_job_failed_unseen(foreigners: Rollcall) -> None:
    started = await _start(foreigners, "fails at first")
    session = await foreigners.until_status(started["session_id"], "active")
    assert session["attempt"] == 2
    await foreigners.end(started["session_id"])


async def test_an_agent_that_listens_as_it_is_seen_is_ready_at_once(foreigners: Rollcall) -> None:
    started = await _start(foreigners, "listens at once")
    session = await foreigners.until_status(started["session_id"], "active")
    assert session["timings"]["ready_at"] == session["timings"]["active_at"]
    await foreigners.end(started["session_id"])


async def test_a_caller_who_hangs_up_on_an_agent_that_reports_nothing(
    foreigners: Rollcall, board: Scoreboard
) -> None:
    started = await _start(foreigners, "stays")
    async with guest(started):
        await foreigners.until_status(started["session_id"], "active")
    verdict = await until_over(foreigners, started["session_id"])
    board.add(Finding("foreign worker: hang-up", ("ended: caller left",), _ended(verdict)))
    assert _ended(verdict) == "ended: caller left"


async def test_a_room_that_is_closed_under_the_agent_on_its_way(
    foreigners: Rollcall, board: Scoreboard
) -> None:
    started = await _start(foreigners, "never connects")
    closing = asyncio.create_task(_close_after_each_dispatch(foreigners, started))
    try:
        verdict = await until_over(foreigners, started["session_id"])
    finally:
        closing.cancel()
    judge(board, verdict, "room deleted before the join", "room_closed")


async def test_a_room_that_is_closed_under_a_conversation_ends_it_and_says_so(
    foreigners: Rollcall, board: Scoreboard
) -> None:
    started = await _start(foreigners, "stays")
    async with guest(started):
        await foreigners.until_status(started["session_id"], "active")
        await _delete_room(foreigners, started["room_name"])
        verdict = await until_over(foreigners, started["session_id"])
    assert verdict.session["status"] == "ended"
    board.add(Finding("room deleted while active", ("ended: room closed",), _ended(verdict)))
    assert verdict.count("agent.lost.v1") == 0


async def test_a_caller_who_hangs_up_before_the_agent_came(foreigners: Rollcall, board: Scoreboard) -> None:
    started = await _start(foreigners, "never connects")
    async with guest(started):
        await foreigners.until_event(started["session_id"], "dispatch.accepted.v1")
        await _seen_by_the_verifier(foreigners, started)
    verdict = await until_over(foreigners, started["session_id"])
    assert verdict.session["status"] == "cancelled"
    board.add(Finding("caller left before the join", ("caller_left",), verdict.cause))


async def test_a_caller_who_never_comes_is_said_to_have_never_come(
    foreigners: Rollcall, nobody_comes: str, board: Scoreboard
) -> None:
    # Before the tests that break LiveKit.
    verdict = await until_over(foreigners, nobody_comes, timeout_s=150)
    board.add(Finding("nobody comes", ("ended: caller_never_came",), _ended(verdict)))
    assert _ended(verdict) == "ended: caller_never_came"
    assert verdict.session["failure"] is None


async def test_livekit_that_accepts_and_never_answers(foreigners: Rollcall, board: Scoreboard) -> None:
    """More sessions than the dispatcher has threads, none of which it may lose to the server."""
    livekit: Process = foreigners.stack.process("livekit")
    livekit.freeze()
    try:
        started = await asyncio.gather(*(foreigners.start(agent_name="odd") for _ in range(6)))
        verdicts = [await until_over(foreigners, one["session_id"]) for one in started]
    finally:
        livekit.thaw()
    for verdict in verdicts:
        judge(board, verdict, "LiveKit accepts and never answers", "livekit_unreachable")

    async def joined() -> bool:
        # The worker may have left a server that was silent, and needs its time to come back.
        again = await _start(foreigners, "stays")
        status = await _until_settled(foreigners, again["session_id"])
        await foreigners.end(again["session_id"])
        return status == "active"

    await until(joined, what="a session gets its agent again")


async def test_livekit_down(foreigners: Rollcall, board: Scoreboard) -> None:
    livekit: Process = foreigners.stack.process("livekit")
    await livekit.stop()
    try:
        started = await foreigners.start(agent_name="odd")
        verdict = await until_over(foreigners, started["session_id"])
    finally:
        await livekit.start()
    judge(board, verdict, "LiveKit down", "livekit_unreachable")
    assert verdict.session["attempt"] <= 1, "waiting uses up no attempt"
    assert [wait["cause"] for wait in verdict.all("session.waiting.v1")] == ["livekit_unreachable"]


async def _start(rollcall: Rollcall, behaviour: str, agent_name: str = "odd") -> dict[str, Any]:
    return await rollcall.start(agent_name=agent_name, metadata={"behaviour": behaviour})


async def _until_settled(rollcall: Rollcall, session_id: str) -> str:
    async def settled() -> str | None:
        status: str = (await rollcall.session(session_id))["status"]
        return status if status == "active" or status in TERMINAL else None

    found: str = await until(settled, what=f"session {session_id} has its agent or is over")
    return found


async def _delete_room(rollcall: Rollcall, room_name: str) -> None:
    async with rollcall.livekit() as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room_name))


async def _close_after_each_dispatch(rollcall: Rollcall, started: dict[str, Any]) -> None:
    closed = 0
    while True:
        types = await rollcall.event_types(started["session_id"])
        if types.count("dispatch.accepted.v1") > closed:
            closed += 1
            await _delete_room(rollcall, started["room_name"])
        await asyncio.sleep(0.1)


async def _seen_by_the_verifier(rollcall: Rollcall, started: dict[str, Any]) -> None:
    """Wait until the verifier has had time to look while the caller was there: two of its polls."""
    calls = 'livekit_api_calls_total{method="ListParticipants",result="ok"}'
    verifier = rollcall.stack.process("verifier")
    before = await _metric(verifier, calls)

    async def looked() -> bool:
        return await _metric(verifier, calls) >= before + 2

    await until(looked, what="the verifier has looked twice")


async def _metric(process: Process, name: str) -> float:
    import httpx

    port = process.spec.env["PROBE_PORT"]
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0)


def _ended(verdict: Verdict) -> str:
    return f"{verdict.session['status']}: {verdict.session['end_reason']}"
