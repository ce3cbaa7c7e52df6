"""The verifier proves the join of an agent whose worker doesn't report to us."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.workers.registry import write_heartbeat
from tests.integration.rows import (
    event_types,
    get_attempts,
    get_session,
    put_session,
)
from tests.integration.verifier.verifier_bench import Bench
from tests.support.sessions import until
from tests.unit.making import T0, make_agent, make_heartbeat

pytestmark = pytest.mark.sql

S = SessionStatus


async def _stranger(bench: Bench, *, level: str = "active", **attempt: Any) -> SessionRow:
    """A session whose dispatch a worker that reports nothing has taken."""
    row = await bench.put(
        S.DISPATCHED, attempt={"participant_identity": "agent-AJ_1", **attempt}, required_level=level
    )
    ours = bench.rooms.give_job(bench.rooms.add_dispatch("lobby", {}), "agent-AJ_1")
    job = ours.state.jobs[-1]
    job.id, job.state.worker_id, job.room.sid = "AJ_1", "AW_1", "RM_1"
    return row


async def test_all_that_an_unreporting_agent_shows_is_written_at_the_first_look(bench: Bench) -> None:
    row = await _stranger(bench)
    bench.rooms.people["lobby"].append(make_agent(attributes={"lk.agent.state": "speaking"}))
    stored = await bench.verify(row)
    assert (stored.status, stored.room_sid) == (S.ACTIVE, "RM_1")
    assert (stored.assigned_at, stored.ready_at, stored.first_speech_at) == (T0, T0, T0)
    [attempt] = await get_attempts(bench.database, row.id)
    assert (attempt.job_id, attempt.worker_id, attempt.assigned_at) == ("AJ_1", "AW_1", T0)
    assert attempt.reported_at is None
    types = await event_types(bench.database, row.id)
    assert types[1:] == ["agent.assigned.v1", "agent.joined.v1", "agent.ready.v1", "agent.first_speech.v1"]


async def test_an_unreporting_agent_joins_after_a_worker_of_ours_passed_the_job_on(bench: Bench) -> None:
    row = await _stranger(bench, rejected_at=T0, close_reason="full", worker_id="AW_9", job_id="AJ_1")
    bench.rooms.people["lobby"].append(make_agent())
    stored = await bench.verify(row)
    assert (stored.status, stored.agent_identity) == (S.ACTIVE, "agent-AJ_1")


async def test_an_unreporting_agent_that_came_and_left_as_it_meant_to_has_joined(bench: Bench) -> None:
    row = await _stranger(bench)
    # LiveKit shows no job yet, so nothing binds the agent that is there.
    del bench.rooms.in_force["lobby"][0].state.jobs[:]
    bench.rooms.people["lobby"].append(make_agent())
    verifying = asyncio.create_task(bench.verifier.verify(await bench.current(row)))

    async def looked() -> bool:
        return "dispatches" in bench.rooms.calls

    await until(looked, what="the agent was seen")
    bench.rooms.people["lobby"].pop()
    async with bench.database.write() as db:
        attempt = await db.get_one(AttemptRow, (row.id, 1))
        attempt.arrived_at, attempt.left_at = T0, T0 + timedelta(seconds=1)
        attempt.left_reason = "client_initiated"
    async with asyncio.timeout(20):
        await verifying
    bench.clock.forward(seconds=1)
    stored = await bench.check(await get_session(bench.database, row.id))
    assert (stored.status, stored.end_reason) == (S.ENDED, "agent left")


async def test_a_name_under_which_a_stranger_has_joined_is_no_mismatch(bench: Bench) -> None:
    await write_heartbeat(bench.redis, make_heartbeat(agent_name="agents"))
    causes = []
    for _ in range(2):
        row = await bench.put(S.DISPATCHED, max_attempts=1, deadline_at=T0)
        causes.append((await bench.verify(row)).cause)
        await put_session(
            bench.database, room_name="earlier", status=S.ENDED, attempt={"number": 0, "active_at": T0}
        )
    assert causes == ["agent_name_mismatch", "no_worker_registered"]
