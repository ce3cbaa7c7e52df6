"""The verdict of `rollcall canary` on a session."""

import json
from typing import Any

import pytest

from cli.call.canary import Verdict, run_canary
from cli.client.answers import Session
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import SessionEnded
from tests.unit.cli.fake_api import Api

_AT = "2026-11-23T12:00:0{}Z"
_LEVELS = ("accepted_at", "assigned_at", "active_at", "ready_at", "first_speech_at")


def judged(session: dict[str, Any]) -> Verdict:
    return Verdict.of(Session.model_validate(session), timeout_s=30)


def a_session(status: str, *, reached: int = 0, **changes: Any) -> dict[str, Any]:
    """A session that has reached so many levels, one a second."""
    timings = {name: _AT.format(n) if n <= reached else None for n, name in enumerate(_LEVELS, start=1)}
    return {
        "session_id": "s1",
        "status": status,
        "room_name": "r1",
        "agent_name": "agent",
        "waiting_for": None,
        "failure": None,
        "timings": {"requested_at": _AT.format(0), **timings, "ended_at": None},
        **changes,
    }


FAILURE = {
    "cause": "worker_died",
    "advice": ADVICE[Cause.WORKER_DIED],
    "evidence": {"worker_id": "w-1"},
}


@pytest.mark.parametrize("status", ["active", "ended"])
def test_a_canary_whose_agent_was_proven_is_good_news(status: str) -> None:
    verdict = judged(a_session(status, reached=4))
    assert verdict.ok
    assert verdict.levels_ms == {"accepted": 1000, "assigned": 2000, "active": 3000, "ready": 4000}
    assert "accepted 1000 ms, assigned 2000 ms, active 3000 ms, ready 4000 ms" in verdict.as_text().plain


def test_a_canary_that_failed_says_why_and_what_to_do() -> None:
    verdict = judged(a_session("failed", reached=1, failure=FAILURE))
    assert not verdict.ok
    text = verdict.as_text().plain
    for part in ("worker_died", ADVICE[Cause.WORKER_DIED], "worker_id: w-1", "accepted 1000 ms"):
        assert part in text
    read = json.loads(verdict.as_json())
    assert (read["ok"], read["cause"], read["evidence"]) == (False, "worker_died", {"worker_id": "w-1"})


@pytest.mark.parametrize(
    ("status", "reached", "outcome"),
    [
        ("failed", 1, "No agent came: worker_died."),
        ("failed", 3, "The agent was lost, and no other replaced it: worker_died."),
        ("dispatched", 3, "No agent is proven: dispatched."),
    ],
)
def test_an_agent_that_was_there_is_not_said_never_to_have_come(
    status: str, reached: int, outcome: str
) -> None:
    failure = FAILURE if status == "failed" else None
    text = judged(a_session(status, reached=reached, failure=failure)).as_text().plain
    assert text.startswith(outcome)


@pytest.mark.parametrize(
    ("session", "cause"),
    [
        (a_session("requested", waiting_for="workers_at_capacity"), "workers_at_capacity"),
        # A canary needs more than an agent in the room.
        (a_session("dispatched", reached=3), None),
        (a_session("cancelled"), None),
    ],
)
def test_a_canary_without_a_verdict_in_time_is_no_good_news(
    session: dict[str, Any], cause: str | None
) -> None:
    verdict = judged(session)
    assert (verdict.ok, verdict.cause) == (False, cause)
    assert "No verdict within 30 s" in verdict.as_text().plain


def start_answer(api: Api) -> None:
    started = {
        "session_id": "s1",
        "room_name": "r1",
        "server_url": "ws://x",
        "participant_token": "t",
        "status": "requested",
    }
    api.answer("POST", "/v1/sessions", 202, started)


async def test_a_canary_that_is_over_is_judged_and_left_alone() -> None:
    api = Api()
    start_answer(api)
    api.happened((0, SessionEnded(reason="canary passed")))
    api.said("ended")
    api.answer("GET", "/v1/sessions/s1", 200, a_session("ended", reached=4))
    verdict = await run_canary(api.client(), agent_name="front desk", timeout_s=20, show=lambda _: None)
    assert verdict.ok
    assert ("DELETE", "/v1/sessions/s1") not in api.asked
    assert json.loads(api.bodies[0]) == {"canary": True, "agent_name": "front desk"}


async def test_a_canary_that_is_still_under_way_is_ended_and_no_good_news() -> None:
    api = Api()
    start_answer(api)
    api.happened()
    api.said("requested")
    api.answer("GET", "/v1/sessions/s1", 200, a_session("requested"))
    api.answer("DELETE", "/v1/sessions/s1", 200, a_session("cancelled"))
    verdict = await run_canary(api.client(), agent_name=None, timeout_s=0.01, show=lambda _: None)
    assert (verdict.ok, verdict.status) == (False, "requested")
    assert api.asked[-1] == ("DELETE", "/v1/sessions/s1")
