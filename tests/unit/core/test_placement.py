"""Which workers may get a session's dispatch, and which of them first."""

from typing import Any

import pytest

from shared.contracts.causes import Cause
from shared.contracts.workers import CircuitState, WorkerCircuit, WorkerFault, WorkerHeartbeat
from shared.core.workers.placement import candidates
from shared.core.workers.registry import Fleet
from shared.platform.clock import utc_now


def a_worker(worker_id: str, **fields: Any) -> WorkerHeartbeat:
    now = utc_now()
    standing = {
        "agent_name": "agent",
        "address": f"at-{worker_id}",
        "host": "host",
        "pid": 1,
        "version": "1",
        "livekit_url": "ws://livekit",
        "load": 0,
        "active_jobs": 0,
        "max_jobs": 10,
        "started_at": now,
        "beat_at": now,
    }
    return WorkerHeartbeat.model_validate({"worker_id": worker_id, **standing, **fields})


def ranked(*workers: WorkerHeartbeat, deployment: str = "", **known: Any) -> list[tuple[str, int]]:
    """The candidates and their ranks, the best first."""
    found = candidates(Fleet(list(workers)), "agent", deployment=deployment, **{"tries": {}, **known})
    return sorted(((one.worker_id, one.rank) for one in found), key=lambda one: one[::-1])


@pytest.mark.parametrize(
    "standing",
    [
        {"agent_name": "other"},
        {"address": None},
        {"registered": False},
        {"draining": True},
        {"active_jobs": 10},
        {"deployment": "blue"},
    ],
)
def test_a_worker_that_could_not_take_the_job_is_no_candidate(standing: dict[str, Any]) -> None:
    assert ranked(a_worker("a", **standing), a_worker("b")) == [("b", 0)]


def test_a_deployment_has_workers_of_its_own() -> None:
    workers = a_worker("a", deployment="blue"), a_worker("b")
    assert ranked(*workers, deployment="blue") == [("a", 0)]


OPEN = WorkerCircuit(state=CircuitState.OPEN, reason="took none")
HALF_OPEN = OPEN.model_copy(update={"state": CircuitState.HALF_OPEN})
IGNORED = OPEN.model_copy(update={"ignored": True})


def test_who_has_had_the_session_goes_last_and_who_has_a_fault_before_that() -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_UNAVAILABLE, detail="away", since=utc_now())
    workers = [a_worker("tried"), a_worker("faulty", faults=[fault]), a_worker("well")]
    order = ranked(*workers, tries={"tried": 1})
    assert [worker_id for worker_id, _ in order] == ["well", "faulty", "tried"]


def test_a_worker_that_did_not_answer_a_moment_ago_goes_behind_the_others() -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_UNAVAILABLE, detail="away", since=utc_now())
    workers = [a_worker("silent"), a_worker("faulty", faults=[fault]), a_worker("tried")]
    found = candidates(
        Fleet(workers, unresponsive=frozenset({"silent"})), "agent", deployment="", tries={"tried": 1}
    )
    assert [one.worker_id for one in sorted(found, key=lambda one: one.rank)] == ["faulty", "silent", "tried"]


def test_a_worker_whose_circuit_is_open_is_no_candidate_unless_no_other_is_left() -> None:
    assert ranked(a_worker("a", circuit=OPEN), a_worker("b")) == [("b", 0)]
    assert ranked(a_worker("a", circuit=IGNORED)) == [("a", 4)]


def test_one_session_tries_a_worker_on_trial_if_it_has_another_attempt_left() -> None:
    workers = [a_worker("a", circuit=HALF_OPEN, active_jobs=3), a_worker("b")]
    assert ranked(*workers)[0] == ("a", -1)
    assert ranked(*workers, tries={"c": 1}) == [("b", 0), ("a", 4)]
    [tried] = [one for one in candidates(Fleet(workers), "agent", deployment="", tries={}) if one.on_trial]
    assert tried.max_jobs - tried.active_jobs == 1
