"""The cause of a missing agent: each rule is tried, and the surest of them first."""

from collections.abc import Set
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.verifier.prove.find_cause import (
    LISTED,
    NEVER_LISTED,
    NOT_STARTED,
    SILENT,
    UNHEARD,
    Facts,
    find_cause,
)
from services.verifier.prove.observe import JobSighting, Sighting
from shared.contracts.causes import ADVICE, Cause
from shared.core.workers.registry import Fleet
from tests.unit.making import T0, make_agent, make_attempt, make_heartbeat, make_session

HEALTHY = Fleet([make_heartbeat("worker-1")])
LATER = T0 + timedelta(seconds=1)
ERROR = {"type": "ValueError", "message": "no such table"}
TAKEN = {"assigned_at": LATER, "reported_at": LATER}


def seen(
    *,
    attempt: dict[str, Any] | None = None,
    room_exists: bool = True,
    sighting: Sighting | None = None,
    job: JobSighting | None = None,
    agents_seen: Set[str] = frozenset(),
    job_is_dead: bool = False,
    had_worker: bool = False,
    fleet: Fleet | None = HEALTHY,
    agent_name: str = "agent",
    name_is_proven: bool = False,
) -> Facts:
    row = make_session(attempt=1, agent_name=agent_name)
    return Facts(
        session=row,
        attempt=make_attempt(row, dispatch_id="AD_1", **(attempt or {})),
        room_exists=room_exists,
        sighting=sighting or Sighting(),
        job=job or JobSighting(),
        agents_seen=agents_seen,
        job_is_dead=job_is_dead,
        had_worker=had_worker,
        fleet=fleet,
        now=T0 + timedelta(seconds=8),
        name_is_proven=name_is_proven,
    )


def test_an_error_that_the_worker_reported_is_the_cause_with_its_type() -> None:
    cause, evidence = find_cause(seen(attempt={"error": ERROR}))
    assert cause is Cause.ENTRYPOINT_FAILED
    assert evidence == {"type": "ValueError", "message": "no such table"}


def test_the_workers_own_finding_is_believed() -> None:
    error = {**ERROR, "cause": "model_misconfigured", "descriptor": "openai/gpt-6"}
    cause, evidence = find_cause(seen(attempt={"error": error}))
    assert cause is Cause.MODEL_MISCONFIGURED
    assert evidence["descriptor"] == "openai/gpt-6"


def test_a_worker_that_turned_the_job_down_is_named_with_its_reason() -> None:
    attempt = {"rejected_at": LATER, "worker_id": "worker-7", "close_reason": "late attempt"}
    cause, evidence = find_cause(seen(attempt=attempt))
    assert (cause, evidence) == (Cause.WORKER_REJECTED, {"worker_id": "worker-7", "reason": "late attempt"})


def test_a_refusal_that_only_livekit_shows_counts_too() -> None:
    cause, evidence = find_cause(seen(job=JobSighting(refused=True)))
    assert (cause, evidence) == (Cause.WORKER_REJECTED, {"dispatch_id": "AD_1"})


def test_a_room_that_is_gone_was_closed() -> None:
    found = seen(room_exists=False)
    assert find_cause(found) == (Cause.ROOM_CLOSED, {"room_name": found.session.room_name})


def test_an_agent_that_is_listed_but_not_active_never_connected() -> None:
    cause, evidence = find_cause(seen(sighting=Sighting(connecting=make_agent("agent-AJ_9"))))
    assert (cause, evidence) == (
        Cause.NEVER_CONNECTED,
        {"participant_identity": "agent-AJ_9", "sign": LISTED},
    )


def test_an_agent_that_closed_its_job_has_left() -> None:
    cause, evidence = find_cause(seen(attempt={"closed_at": LATER, "close_reason": "shutdown"}))
    assert (cause, evidence) == (Cause.AGENT_LEFT, {"reason": "shutdown"})


def test_a_job_that_beats_no_more_has_died_and_its_worker_is_named() -> None:
    attempt = {"assigned_at": LATER, "worker_id": "worker-9", "job_id": "AJ_1"}
    cause, evidence = find_cause(seen(attempt=attempt, job_is_dead=True))
    assert (cause, evidence) == (Cause.WORKER_DIED, {"worker_id": "worker-9", "job_id": "AJ_1"})


def test_a_registry_that_cannot_be_read_does_not_declare_a_worker_dead() -> None:
    attempt = {**TAKEN, "worker_id": "worker-9", "job_id": "AJ_1"}
    assert find_cause(seen(attempt=attempt, fleet=None))[0] is Cause.JOB_NOT_STARTED


def test_a_worker_that_was_there_and_is_gone_has_died() -> None:
    cause, evidence = find_cause(seen(had_worker=True, fleet=Fleet()))
    assert (cause, evidence) == (Cause.WORKER_DIED, {"agent_name": "agent", "names_seen": []})


def test_an_agent_in_the_room_that_does_not_get_ready_has_failed_at_its_start() -> None:
    cause, evidence = find_cause(seen(sighting=Sighting(agent=make_agent("agent-AJ_9"))))
    assert cause is Cause.ENTRYPOINT_FAILED
    assert evidence == {"participant_identity": "agent-AJ_9", "reason": "not ready in time"}


def test_a_worker_that_answered_and_does_not_start_the_job_has_not_timed_out() -> None:
    attempt = {**TAKEN, "worker_id": "worker-1", "job_id": "AJ_1"}
    cause, evidence = find_cause(seen(attempt=attempt))
    assert cause is Cause.JOB_NOT_STARTED
    assert evidence == {
        "worker_id": "worker-1",
        "job_id": "AJ_1",
        "taken_at": LATER.isoformat(),
        "waited_s": 7.0,
        "sign": NOT_STARTED,
    }
    assert "didn't answer" not in ADVICE[cause]


def test_a_job_that_only_its_workers_heartbeat_tells_of_is_not_started_either() -> None:
    found = seen(fleet=Fleet([]))
    holder = Fleet([make_heartbeat("worker-1", sessions=[found.session.id])])
    cause, evidence = find_cause(replace(found, fleet=holder))
    assert (cause, evidence["worker_id"]) == (Cause.JOB_NOT_STARTED, "worker-1")


def test_an_entrypoint_that_started_but_shows_no_participant_never_connected() -> None:
    attempt = {**TAKEN, "entrypoint_at": LATER, "worker_id": "worker-1", "job_id": "AJ_1"}
    assert find_cause(seen(attempt=attempt))[0] is Cause.NEVER_CONNECTED


def test_a_job_that_only_livekit_shows_and_whose_agent_was_never_listed_says_so() -> None:
    attempt = {"assigned_at": LATER, "worker_id": "AW_1", "job_id": "AJ_3"}
    cause, evidence = find_cause(seen(attempt=attempt, job=JobSighting(identity="agent-AJ_3")))
    assert cause is Cause.NEVER_CONNECTED
    assert evidence == {
        "participant_identity": "agent-AJ_3",
        "worker_id": "AW_1",
        "job_id": "AJ_3",
        "sign": NEVER_LISTED,
    }
    assert "worker's log" in ADVICE[cause]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("client_initiated", Cause.AGENT_LEFT),
        ("connection_timeout", Cause.WORKER_DIED),
        ("signal_close", Cause.WORKER_DIED),
        ("join_failure", Cause.NEVER_CONNECTED),
        ("agent_error", Cause.ENTRYPOINT_FAILED),
        ("participant_removed", Cause.AGENT_LEFT),
        ("unknown_reason", Cause.AGENT_LEFT),
    ],
)
def test_how_an_unreporting_agent_left_tells_why(reason: str, cause: Cause) -> None:
    attempt = {"participant_identity": "agent-AJ_3", "left_at": LATER, "left_reason": reason}
    found = find_cause(seen(attempt=attempt, agents_seen={"agent-AJ_3"}))
    assert found == (cause, {"participant_identity": "agent-AJ_3", "reason": reason})


def test_an_unreporting_agent_that_was_in_the_room_and_is_not_has_left() -> None:
    for job in (JobSighting(), JobSighting(identity="agent-AJ_3")):
        cause, evidence = find_cause(seen(job=job, agents_seen={"agent-AJ_3"}))
        assert (cause, evidence) == (Cause.AGENT_LEFT, {"participant_identity": "agent-AJ_3"})


def test_an_unreporting_agent_that_only_a_webhook_told_of_has_left() -> None:
    found = find_cause(seen(attempt={"participant_identity": "agent-AJ_3"}))
    assert found == (Cause.AGENT_LEFT, {"participant_identity": "agent-AJ_3"})


def test_an_unreporting_agent_that_is_still_there_has_not_left() -> None:
    there = Sighting(unbound=[make_agent("agent-AJ_3")])
    assert find_cause(seen(sighting=there, agents_seen={"agent-AJ_3"}))[0] is Cause.ASSIGNMENT_TIMEOUT


def test_no_worker_at_all() -> None:
    assert find_cause(seen(fleet=Fleet())) == (Cause.NO_WORKER_REGISTERED, {"agent_name": "agent"})


def test_workers_under_another_name_only_and_the_nearest_of_them() -> None:
    fleet = Fleet([make_heartbeat(f"w-{name}", agent_name=name) for name in ("billing", "agent-eu", "x")])
    cause, evidence = find_cause(seen(fleet=fleet, agent_name="agent_eu"))
    assert cause is Cause.AGENT_NAME_MISMATCH
    assert evidence == {
        "agent_name": "agent_eu",
        "names_seen": ["agent-eu", "billing", "x"],
        "nearest": "agent-eu",
    }


@pytest.mark.parametrize("name", ["Agent", "agent ", "agents"])
def test_a_name_that_differs_in_one_letter_is_a_mismatch(name: str) -> None:
    fleet = Fleet([make_heartbeat(agent_name=name)])
    cause, evidence = find_cause(seen(fleet=fleet))
    assert (cause, evidence["nearest"]) == (Cause.AGENT_NAME_MISMATCH, name)


@pytest.mark.parametrize(("wanted", "there"), [("sales", "zzz"), ("stranger", "agent"), ("a", "billing")])
def test_workers_of_names_that_are_not_alike_make_no_mismatch(wanted: str, there: str) -> None:
    fleet = Fleet([make_heartbeat(agent_name=there)])
    found = find_cause(seen(fleet=fleet, agent_name=wanted))
    assert found == (Cause.NO_WORKER_REGISTERED, {"agent_name": wanted, "names_seen": [there]})


def test_a_name_under_which_an_unreporting_agent_has_joined_is_right() -> None:
    fleet = Fleet([make_heartbeat(agent_name="agents")])
    found = find_cause(seen(fleet=fleet, name_is_proven=True))
    assert found == (Cause.NO_WORKER_REGISTERED, {"agent_name": "agent", "joined_before": True})


def test_all_workers_draining() -> None:
    fleet = Fleet([make_heartbeat("w-1", draining=True), make_heartbeat("w-2", draining=True)])
    assert find_cause(seen(fleet=fleet)) == (Cause.WORKER_DRAINING, {"workers": ["w-1", "w-2"]})


def test_one_worker_full_and_the_other_draining_is_a_lack_of_capacity() -> None:
    fleet = Fleet([make_heartbeat("w-1", draining=True), make_heartbeat("w-2", active_jobs=10)])
    assert find_cause(seen(fleet=fleet))[0] is Cause.WORKERS_AT_CAPACITY


def test_a_worker_that_refused_because_it_was_cordoned_meanwhile() -> None:
    attempt = {"rejected_at": T0, "close_reason": "cordoned", "worker_id": "w-1"}
    found = find_cause(seen(attempt=attempt))
    assert found == (Cause.WORKER_DRAINING, {"worker_id": "w-1", "reason": "cordoned"})


def test_free_workers_and_no_job_is_an_assignment_that_timed_out() -> None:
    assert find_cause(seen()) == (Cause.ASSIGNMENT_TIMEOUT, {"workers": ["worker-1"]})


def test_nothing_known_and_no_registry_is_unknown_and_says_so() -> None:
    assert find_cause(seen(fleet=None)) == (Cause.UNKNOWN, {"registry": "unreadable"})


def test_of_a_worker_that_was_chosen_the_registry_tells_whether_it_still_beats() -> None:
    chosen = {"chosen_worker_id": "worker-1"}
    others = Fleet([make_heartbeat("worker-2")])
    assert find_cause(seen(attempt=chosen)) == (
        Cause.ASSIGNMENT_TIMEOUT,
        {"worker_id": "worker-1", "sign": SILENT},
    )
    assert find_cause(seen(attempt=chosen, fleet=others)) == (
        Cause.WORKER_DIED,
        {"worker_id": "worker-1", "sign": UNHEARD},
    )


# In the order of certainty: each gives its cause even if all later ones apply too.
ORDER: list[tuple[dict[str, Any], Cause]] = [
    ({"attempt": {"error": ERROR}}, Cause.ENTRYPOINT_FAILED),
    ({"attempt": {"rejected_at": LATER}}, Cause.WORKER_REJECTED),
    ({"job": JobSighting(identity="agent-AJ_1", refused=True)}, Cause.WORKER_REJECTED),
    ({"room_exists": False}, Cause.ROOM_CLOSED),
    ({"job_is_dead": True}, Cause.WORKER_DIED),
    ({"sighting": Sighting(agent=make_agent())}, Cause.ENTRYPOINT_FAILED),
    ({"sighting": Sighting(connecting=make_agent())}, Cause.NEVER_CONNECTED),
    ({"attempt": {**TAKEN, "worker_id": "worker-9"}}, Cause.JOB_NOT_STARTED),
    ({"job": JobSighting(identity="agent-AJ_1")}, Cause.NEVER_CONNECTED),
    ({"fleet": Fleet()}, Cause.NO_WORKER_REGISTERED),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_surest_witness_speaks_first(first: int) -> None:
    everything: dict[str, Any] = {}
    for what, _ in reversed(ORDER[first:]):
        attempt = {**everything.get("attempt", {}), **what.get("attempt", {})}
        everything = {**everything, **what, "attempt": attempt}
    assert find_cause(seen(**everything))[0] is ORDER[first][1]


def test_every_cause_has_advice() -> None:
    assert set(ADVICE) == set(Cause)
    assert all(advice.strip().endswith(".") for advice in ADVICE.values())
