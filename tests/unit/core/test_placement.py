"""Which workers may get a session's dispatch, and which of them first."""

from typing import Any

import pytest

from shared.contracts.causes import Cause
from shared.contracts.workers import WorkerFault, WorkerHeartbeat
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


def test_who_has_had_the_session_goes_last_and_who_fails_before_that() -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_UNAVAILABLE, detail="away", since=utc_now())
    workers = [a_worker("tried"), a_worker("faulty", faults=[fault]), a_worker("failing"), a_worker("well")]
    order = ranked(*workers, tries={"tried": 1}, failing={"failing"})
    assert [worker_id for worker_id, _ in order] == ["well", "faulty", "failing", "tried"]


def test_a_fleet_that_fails_is_chosen_from_all_the_same() -> None:
    assert ranked(a_worker("a"), tries={"a": 2}, failing={"a"}) == [("a", 10)]
