"""How long the verifier waits for an attempt: as long as an agent may come, and no longer."""

from datetime import timedelta
from typing import Any

import pytest

from services.verifier.liveness import Liveness
from services.verifier.prove.attempt_deadline import AttemptDeadline, Observations
from services.verifier.prove.observe import JobSighting, Sighting
from services.verifier.repository import Current
from shared.core.workers.registry import Fleet
from tests.unit.fake_rooms import refused_key, unreachable
from tests.unit.making import T0, make_agent, make_attempt, make_heartbeat, make_session

FREE = Fleet([make_heartbeat("w-1")])
FULL = Fleet([make_heartbeat("w-1", active_jobs=10)])
EMPTY = Fleet()
SERVING = Fleet([make_heartbeat("w-1", sessions=["s-1"])])
ERROR = {"type": "ValueError", "message": "no"}


class Beats(Liveness):
    """Fake job beats, without a Redis."""

    def __init__(self, *, silent: bool = False, steady: bool = True) -> None:
        self._silent, self._steady = silent, steady

    def is_silent(self, session_id: str, attempt: int, *, is_ready: bool) -> bool:
        return self._silent

    def steady_for(self, seconds: float) -> bool:
        return self._steady


def is_over(
    *,
    after: float,
    attempt: dict[str, Any] | None = None,
    last: bool = False,
    fleet: Fleet | None = EMPTY,
    had_worker: bool | None = None,
    beats: Beats | None = None,
    **seen: Any,
) -> bool:
    row = make_session(id="s-1", attempt=3 if last else 1)
    current = Current(row, make_attempt(row, accepted_at=T0, **(attempt or {})))
    observed = Observations(**seen)
    observed.note_fleet(fleet, current, T0)
    observed.had_worker = observed.had_worker if had_worker is None else had_worker
    attempt_deadline = AttemptDeadline(
        window_s=5.5, own_window_s=3, start_window_s=7, liveness=beats or Beats()
    )
    return attempt_deadline.is_over(current, observed, T0 + timedelta(seconds=after))


TWO = Fleet([make_heartbeat("w-1"), make_heartbeat("w-2")])
ONE_S = timedelta(seconds=1)
PLACED = {"address": "at-w-1", "chosen_worker_id": "w-1"}
TAKEN = {"assigned_at": T0, "reported_at": T0, "worker_id": "w-1"}
SHOWN = {"job": JobSighting(identity="agent-AJ_1"), "attempt": {"assigned_at": T0, "worker_id": "AW_1"}}


@pytest.mark.parametrize(
    ("given", "waited_until"),
    [
        ({}, 5.5),
        ({"fleet": None}, 5.5),
        ({"fleet": FULL}, 5.5),
        ({"fleet": FREE}, 3.0),
        ({"fleet": FREE, "last": True}, 3.0),
        ({"fleet": SERVING}, 10.0),
        ({"fleet": FREE, "sighting": Sighting(unbound=[make_agent()])}, 5.0),
        ({"sighting": Sighting(unbound=[make_agent()])}, 7.5),
        ({"last": True}, 15.0),
        # LiveKit alone shows that a worker has the job: another attempt is made while there is time.
        (SHOWN, 7.0),
        ({"job": JobSighting(identity="agent-AJ_1")}, 7.0),
        ({**SHOWN, "last": True}, 15.0),
        ({**SHOWN, "sighting": Sighting(connecting=make_agent())}, 15.0),
        ({**SHOWN, "agent_gone_at": T0}, 1.0),
        ({"agent_gone_at": T0, "last": True}, 1.0),
        # No look saw the agent: LiveKit's webhooks report that it came and left.
        (
            {
                "job": JobSighting(identity="agent-AJ_1"),
                "attempt": {"participant_identity": "agent-AJ_1", "left_at": T0},
            },
            1.0,
        ),
        ({"attempt": TAKEN, "fleet": SERVING}, 7.0),
        ({"attempt": {**TAKEN, "entrypoint_at": T0}, "fleet": SERVING}, 15.0),
        ({"attempt": TAKEN, "fleet": SERVING, "sighting": Sighting(connecting=make_agent())}, 15.0),
        ({"attempt": TAKEN, "fleet": SERVING, "sighting": Sighting(agent=make_agent())}, 15.0),
        ({"livekit_error": unreachable()}, 15.0),
        # The worker came after the dispatch, which can't reach it.
        ({"fleet": FREE, "had_worker": False}, 0.0),
        ({"fleet": FREE, "had_worker": False, "last": True}, 15.0),
        # No agent can come any more.
        ({"livekit_error": refused_key()}, 0.0),
        ({"job": JobSighting(refused=True)}, 0.0),
        ({"attempt": {"closed_at": T0}}, 0.0),
        ({"attempt": {"error": ERROR}}, 0.0),
        ({"attempt": {"rejected_at": T0, "close_reason": "late"}}, 0.0),
        ({"attempt": {"rejected_at": T0, "close_reason": "full"}}, 1.0),
        ({"attempt": {"rejected_at": T0, "close_reason": "full"}, "others_serve": True}, 5.5),
        ({"attempt": {"rejected_at": T0, "close_reason": "late"}, "others_serve": True}, 0.0),
        ({"attempt": {"rejected_at": T0, "close_reason": "inference", "error": ERROR}}, 1.0),
        ({"attempt": {"rejected_at": T0, "close_reason": "misconfigured", "error": ERROR}}, 0.0),
        # The dispatch went to one worker: no other one can take it, and none is asked after it.
        ({"attempt": PLACED, "fleet": FREE}, 3.0),
        ({"attempt": PLACED, "fleet": FULL}, 3.0),
        ({"attempt": PLACED, "fleet": EMPTY}, 3.0),
        ({"attempt": PLACED, "fleet": None}, 5.5),
        ({"attempt": PLACED, "fleet": FREE, "sighting": Sighting(unbound=[make_agent()])}, 5.0),
        ({"attempt": PLACED, "fleet": SERVING}, 10.0),
        # Its own history says how soon it answers; that counts while another worker is free to take it.
        ({"attempt": PLACED, "fleet": TWO, "window": ONE_S}, 3.0),
        ({"attempt": PLACED, "fleet": TWO, "window": ONE_S, "overdue": True}, 1.0),
        ({"attempt": PLACED, "fleet": TWO, "window": ONE_S, "overdue": True, "last": True}, 3.0),
        ({"attempt": PLACED, "fleet": FREE, "window": ONE_S, "overdue": True}, 3.0),
        ({"attempt": PLACED, "fleet": SERVING, "window": ONE_S, "overdue": True}, 10.0),
        ({"attempt": PLACED, "fleet": None, "window": ONE_S, "overdue": True}, 5.5),
        ({"attempt": {**PLACED, "rejected_at": T0, "close_reason": "full"}}, 0.0),
        ({"attempt": TAKEN, "fleet": SERVING, "beats": Beats(silent=True)}, 0.0),
        ({"attempt": TAKEN, "fleet": FREE}, 1.0),
        ({"attempt": TAKEN, "fleet": EMPTY}, 1.0),
        # An outage of the registry, or a worker that registered again, does not mean a dead job.
        ({"attempt": TAKEN, "fleet": EMPTY, "beats": Beats(steady=False)}, 7.0),
        ({"attempt": TAKEN, "fleet": None}, 7.0),
    ],
)
def test_an_attempt_is_waited_for_so_long(given: dict[str, Any], waited_until: float) -> None:
    assert is_over(after=waited_until, **given)
    if waited_until:
        assert not is_over(after=waited_until - 0.01, **given)


def test_a_worker_that_registered_anew_and_still_has_the_session_is_alive() -> None:
    row = make_session(attempt=1)
    current = Current(row, make_attempt(row, accepted_at=T0, **TAKEN))
    observed = Observations()
    for seconds in (0, 5):
        now = T0 + timedelta(seconds=seconds)
        observed.note_fleet(Fleet([make_heartbeat("w-9", sessions=[row.id])]), current, now)
    attempt_deadline = AttemptDeadline(window_s=5.5, own_window_s=3, start_window_s=7, liveness=Beats())
    assert not attempt_deadline.job_is_dead(current, observed, T0 + timedelta(seconds=5))


def test_a_caller_is_given_a_moment_to_come_back() -> None:
    attempt_deadline = AttemptDeadline(window_s=5.5, own_window_s=3, start_window_s=7, liveness=Beats())
    observed = Observations()
    observed.note_callers(T0, joined_before=False)
    assert not attempt_deadline.caller_is_gone(observed, T0 + timedelta(seconds=60)), "nobody was ever there"
    observed.sighting = Sighting(callers=1, participants=1)
    observed.note_callers(T0, joined_before=False)
    observed.sighting = Sighting()
    observed.note_callers(T0, joined_before=False)
    assert not attempt_deadline.caller_is_gone(observed, T0 + timedelta(seconds=1.9))
    assert attempt_deadline.caller_is_gone(observed, T0 + timedelta(seconds=2))
    observed.sighting = Sighting(callers=1, participants=1)
    observed.note_callers(T0 + timedelta(seconds=1), joined_before=False)
    assert not attempt_deadline.caller_is_gone(observed, T0 + timedelta(seconds=9))


def test_a_caller_that_only_a_webhook_told_of_counts_too() -> None:
    attempt_deadline = AttemptDeadline(window_s=5.5, own_window_s=3, start_window_s=7, liveness=Beats())
    observed = Observations()
    observed.note_callers(T0, joined_before=True)
    assert attempt_deadline.caller_is_gone(observed, T0 + timedelta(seconds=2))
