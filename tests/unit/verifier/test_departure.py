"""An agent that left on purpose is distinguished from a lost one, as far as anything shows it."""

from datetime import timedelta
from typing import Any

import pytest

from services.verifier.prove.departure import (
    AT_ONCE,
    LAST_WORDS,
    NORMAL_ENDS,
    Departure,
    judge_departure,
    why_gone,
)
from shared.contracts.causes import Cause
from tests.unit.making import T0, make_attempt, make_session

GOODBYE = {"left_at": T0, "left_reason": "client_initiated"}
LOST = {"left_at": T0, "left_reason": "connection_timeout"}
REPORTS = {"reported_at": T0 - timedelta(minutes=1)}
FATAL = {"error": {"type": "ValueError", "message": "no"}}


def before(delay: timedelta) -> dict[str, Any]:
    return {"arrived_at": T0 - delay}


def judged(given: dict[str, Any], *, after: timedelta = timedelta()) -> Departure:
    return judge_departure(make_attempt(make_session(attempt=1), **given), T0 + after)


@pytest.mark.parametrize(
    ("given", "departure"),
    [
        # For a worker that doesn't report to us, LiveKit says how its agent left.
        ({**GOODBYE, **before(timedelta(minutes=1))}, Departure.MEANT),
        ({**GOODBYE, **before(AT_ONCE)}, Departure.MEANT),
        ({**GOODBYE, **before(AT_ONCE / 2)}, Departure.LOSS),
        ({**GOODBYE, **before(AT_ONCE / 2), "ready_at": T0}, Departure.MEANT),
        ({**GOODBYE, "active_at": T0 - AT_ONCE}, Departure.MEANT),
        (GOODBYE, Departure.MEANT),
        ({**LOST, **before(timedelta(minutes=1)), "ready_at": T0}, Departure.LOSS),
        *(
            ({"left_at": T0, "left_reason": reason, **before(timedelta(minutes=1))}, Departure.LOSS)
            for reason in ("participant_removed", "agent_error", "server_shutdown", "unknown_reason")
        ),
        # If no webhook ever comes, a missing agent counts as lost.
        ({}, Departure.LOSS),
        ({"left_at": T0}, Departure.LOSS),
        # For a worker that reports to us, its last report decides.
        *(({**REPORTS, "closed_at": T0, "close_reason": end}, Departure.MEANT) for end in NORMAL_ENDS),
        *(
            ({**REPORTS, **GOODBYE, "closed_at": T0, "close_reason": end}, Departure.LOSS)
            for end in ("error", "worker_stopped", "participant_removed", "late")
        ),
        # An agent's own code ends the job for a reason of its own.
        (
            {**REPORTS, "closed_at": T0, "close_reason": "order_taken", "closed_in_order": True},
            Departure.MEANT,
        ),
        (
            {**REPORTS, "closed_at": T0, "close_reason": "order_taken", "closed_in_order": False},
            Departure.LOSS,
        ),
        ({**REPORTS, **GOODBYE, **FATAL}, Departure.LOSS),
        ({**REPORTS, **LOST}, Departure.LOSS),
    ],
)
def test_who_says_goodbye_meant_it(given: dict[str, Any], departure: Departure) -> None:
    assert judged(given) is departure


@pytest.mark.parametrize(
    ("given", "in_the_end"),
    [
        (before(timedelta(minutes=1)), Departure.LOSS),
        ({**before(timedelta(minutes=1)), "left_at": T0}, Departure.LOSS),
        ({**REPORTS, **GOODBYE, **before(timedelta(minutes=1))}, Departure.MEANT),
    ],
)
def test_a_word_that_may_still_come_is_waited_for(given: dict[str, Any], in_the_end: Departure) -> None:
    assert judged(given) is Departure.UNTOLD
    assert judged({"left_at": T0, **given}, after=LAST_WORDS) is in_the_end


def test_a_loss_is_explained_by_how_livekit_says_that_the_agent_left() -> None:
    cause, evidence = why_gone(make_attempt(make_session(), **LOST, participant_identity="agent-AJ_1"))
    assert (cause, evidence["reason"]) == (Cause.WORKER_DIED, "connection_timeout")
    closed = {**REPORTS, **LOST, "closed_at": T0, "close_reason": "worker_stopped"}
    cause, evidence = why_gone(make_attempt(make_session(), **closed))
    assert (cause, evidence["reason"]) == (Cause.AGENT_LEFT, "worker_stopped")


def test_a_warning_that_the_call_survives_is_no_cause_of_its_loss() -> None:
    warned = {"error": {"type": "mcp_server_failed", "message": "no answer", "recoverable": True}}
    cause, evidence = why_gone(make_attempt(make_session(), **LOST, **warned))
    assert cause is Cause.WORKER_DIED
    assert "type" not in evidence
