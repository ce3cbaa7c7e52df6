"""What workers did with their dispatches, and which of them new sessions are kept from."""

import pytest
from redis.asyncio import Redis

from shared.contracts.causes import Cause
from shared.contracts.keys import circuit_pause_key, worker_silent_key
from shared.contracts.workers import CircuitState, WorkerCircuit
from shared.core.workers.circuit import Pauses, begin_trial, close_circuit, open_circuit, read_circuits
from shared.core.workers.registry import read_fleet
from shared.core.workers.track_record import (
    MOST_FAILURES,
    SILENT_S,
    Late,
    Record,
    Result,
    circuit_of,
    note_answered,
    note_failed,
    note_joined,
    read_record,
    try_again,
)
from tests.integration.api_client import beat_for_ever
from tests.unit.making import make_heartbeat


async def fail(redis: Redis, worker_id: str = "w-1", times: int = MOST_FAILURES) -> list[str | None]:
    return [
        await note_failed(redis, worker_id, Result.SILENT, dispatch=f"s-{number}:1")
        for number in range(times)
    ]


async def pause_is_over(redis: Redis, worker_id: str = "w-1") -> None:
    await redis.delete(circuit_pause_key(circuit_of(worker_id)))


async def shown(redis: Redis, worker_id: str = "w-1") -> WorkerCircuit | None:
    return next(w.circuit for w in (await read_fleet(redis)).workers if w.worker_id == worker_id)


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([], "no dispatch was sent to it before"),
        ([Result.SILENT], "took 0 of the last 1 dispatch and joined none"),
        (
            [Result.TAKEN, Result.TAKEN, Result.SILENT, Result.TAKEN, Result.SILENT],
            "took 3 of the last 5 dispatches and joined none",
        ),
        ([Result.SILENT, Result.JOINED, Result.JOINED], "took 2 of the last 3 dispatches and joined 2"),
    ],
)
def test_a_record_is_a_sentence(results: list[Result], told: str) -> None:
    assert str(Record(results)) == told


async def test_a_worker_that_did_not_answer_is_marked_for_a_moment(redis: Redis) -> None:
    for worker in ("w-1", "w-2"):
        await beat_for_ever(redis, make_heartbeat(worker))
    await note_failed(redis, "w-1", Result.SILENT, dispatch="s-1:1")
    await note_failed(redis, "w-2", Result.TAKEN, dispatch="s-2:1")
    assert (await read_fleet(redis)).unresponsive == {"w-1"}
    assert 0 < await redis.pttl(worker_silent_key("w-1")) <= SILENT_S * 1000


async def test_after_failures_in_a_row_a_worker_is_left_out_and_a_join_ends_that(redis: Redis) -> None:
    for worker in ("w-1", "w-2"):
        await beat_for_ever(redis, make_heartbeat(worker))
    assert await fail(redis, times=MOST_FAILURES - 1) == [None, None]
    assert not await note_joined(redis, "w-1")
    *before, reason = await fail(redis)
    assert (before, reason) == ([None, None], "took 1 of the last 5 dispatches and joined 1")
    assert await fail(redis, times=1) == [None], "only the first time it is news"
    fleet = await read_fleet(redis)
    assert [(w.worker_id, w.is_left_out, w.free_slots) for w in fleet.workers] == [
        ("w-1", True, 0),
        ("w-2", False, 10),
    ]
    assert await note_joined(redis, "w-1")
    assert await shown(redis) is None


async def test_a_fleet_is_never_left_out_as_a_whole(redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat("w-1"))
    await beat_for_ever(redis, make_heartbeat("w-2", cordoned=True))
    await beat_for_ever(redis, make_heartbeat("blue", deployment="blue"))
    await fail(redis)
    circuit = await shown(redis)
    assert circuit is not None
    assert circuit.ignored
    assert (await read_fleet(redis)).free_slots("agent") == 20
    await beat_for_ever(redis, make_heartbeat("w-2", active_jobs=10))
    fleet = await read_fleet(redis)
    assert fleet.why_none("agent") is None, "the other deployment has slots"
    await beat_for_ever(redis, make_heartbeat("blue", agent_name="other"))
    assert (await read_fleet(redis)).why_none("agent") == (
        Cause.WORKERS_AT_CAPACITY,
        {"workers": ["w-1", "w-2"], "left_out": ["w-1"]},
    )


async def test_after_the_pause_one_session_tries_and_its_failure_begins_a_longer_pause(redis: Redis) -> None:
    for worker in ("w-1", "w-2"):
        await beat_for_ever(redis, make_heartbeat(worker))
    await fail(redis)
    key = circuit_pause_key(circuit_of("w-1"))
    first = await redis.pttl(key)
    await pause_is_over(redis)
    [trial, _] = (await read_fleet(redis)).workers
    assert (trial.is_on_trial, trial.free_slots) == (True, 1)
    await try_again(redis, "w-1")
    [others, _] = (await read_fleet(redis)).workers
    assert (others.is_on_trial, others.free_slots) == (False, 0)
    await fail(redis, times=1)
    assert await redis.pttl(key) > first * 1.5


async def test_only_one_session_tries(redis: Redis) -> None:
    assert await open_circuit(redis, "x", "it broke", Pauses(first_s=60, longest_s=60))
    assert not await begin_trial(redis, "x", lasts_s=60), "nobody tries during a pause"
    await redis.delete(circuit_pause_key("x"))
    assert [await begin_trial(redis, "x", lasts_s=60) for _ in range(3)] == [True, False, False]
    [circuit] = await read_circuits(redis, ["x"])
    assert circuit is not None
    assert (circuit.state, circuit.reason) == (CircuitState.OPEN, "it broke")
    assert await close_circuit(redis, "x")
    assert await read_circuits(redis, ["x", "y"]) == [None, None]


async def test_an_answer_that_comes_late_takes_the_failure_back(redis: Redis) -> None:
    for worker in ("w-1", "w-2"):
        await beat_for_ever(redis, make_heartbeat(worker))
    await fail(redis)
    assert await note_answered(redis, "w-1", dispatch="another:1") is None
    assert await shown(redis) is not None
    assert await note_answered(redis, "w-1", dispatch="s-1:1") == Late(taken_back=True), "slow, not broken"
    assert await shown(redis) is None
    assert len((await read_record(redis, "w-1")).results) == MOST_FAILURES - 1
