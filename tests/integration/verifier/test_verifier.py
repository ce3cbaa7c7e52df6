"""The verifier proves a join or names the cause."""

from datetime import timedelta

from services.verifier.prove.answers import FEWEST, expect_answer, note_answer
from services.verifier.prove.proofs import FIRST_LOOK
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.workers.registry import read_fleet, write_heartbeat
from shared.core.workers.track_record import MOST_FAILURES
from tests.integration.background import in_background
from tests.integration.rows import (
    event_types,
    get_attempts,
    get_session,
    last_event,
)
from tests.integration.verifier.verifier_bench import Bench
from tests.support.sessions import until
from tests.unit.fake_rooms import refused_key, unreachable
from tests.unit.making import T0, make_agent, make_attempt, make_caller, make_heartbeat

S = SessionStatus
# After all answers that were noted before.
OVERTAKEN = timedelta(seconds=1)


async def test_an_agent_that_is_there_is_proven_at_the_first_look(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, attempt={"reported_at": T0})
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    bench.clock.forward(seconds=0.4)
    stored = await bench.verify(row)
    assert (stored.status, stored.agent_identity) == (S.ACTIVE, "agent-AJ_1")
    assert stored.next_check_at == bench.clock() + FIRST_LOOK
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["join_seconds"]) == ("agent.joined.v1", 0.4)
    [attempt] = await get_attempts(bench.database, row.id)
    assert (attempt.outcome, attempt.participant_sid) == ("joined", "PA_agent-AJ_1")


async def test_a_second_delivery_proves_nothing_twice(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    current = await bench.current(row)
    await bench.verify(row)
    await bench.verifier.verify(current)
    assert (await event_types(bench.database, row.id)).count("agent.joined.v1") == 1


async def test_a_hint_makes_the_next_look_come_at_once(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    async with in_background(bench.verifier.verify(await bench.current(row))):

        async def looked() -> bool:
            return "participants" in bench.rooms.calls

        await until(looked, what="the room was looked at")
        bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))

        async def active() -> bool:
            bench.waker.wake(row.id)
            return (await get_session(bench.database, row.id)).status == S.ACTIVE

        await until(active, what="the session is active")


async def test_an_attempt_without_an_agent_is_followed_by_another(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    await write_heartbeat(bench.redis, make_heartbeat())
    bench.clock.forward(seconds=6)
    stored = await bench.verify(row)
    assert (stored.status, stored.claimed_until) == (S.DISPATCHING, None)
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["cause"]) == ("agent.missing.v1", "assignment_timeout")
    [attempt] = await get_attempts(bench.database, row.id)
    assert (attempt.outcome, attempt.cause) == ("missing", "assignment_timeout")


async def test_when_the_last_attempt_brought_no_agent_the_session_fails(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=1)
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "no_worker_registered")
    assert (await last_event(bench.database, row.id))["type"] == "session.failed.v1"


async def test_a_reported_error_ends_the_waiting_at_once(bench: Bench) -> None:
    error = {"type": "ValueError", "message": "no such table", "recoverable": False}
    stored = await bench.verify(await bench.put(S.DISPATCHED, attempt={"error": error}))
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, stored.id))["cause"] == "entrypoint_failed"


async def test_a_livekit_that_is_away_is_waited_for_and_then_the_cause(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=1)
    bench.rooms.down = unreachable()
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_unreachable")


async def test_a_wrong_key_is_not_tried_again(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.down = refused_key()
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_auth")


async def test_a_second_agent_is_removed_and_recorded(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"] += [
        make_agent("agent-AJ_1", session_id=row.id, attempt=1),
        make_agent("agent-AJ_2", session_id=row.id, attempt=1),
    ]
    await bench.verify(row)
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-AJ_1"]
    assert (await last_event(bench.database, row.id))["type"] == "agent.extra_removed.v1"


async def test_a_session_that_requires_ready_is_active_only_once_its_agent_listens(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, required_level="ready")
    silent = make_agent(session_id=row.id, attempt=1, attributes={"lk.agent.state": "initializing"})
    bench.rooms.people["lobby"].append(silent)
    async with in_background(bench.verifier.verify(await bench.current(row))):

        async def seen() -> bool:
            bench.waker.wake(row.id)
            return (await get_session(bench.database, row.id)).active_at is not None

        await until(seen, what="the agent was seen")
        assert (await get_session(bench.database, row.id)).status == S.DISPATCHED
        silent.attributes["lk.agent.state"] = "listening"

        async def active() -> bool:
            bench.waker.wake(row.id)
            return (await get_session(bench.database, row.id)).status == S.ACTIVE

        await until(active, what="the session is active")
    assert await event_types(bench.database, row.id) == [
        "session.requested.v1",
        "agent.joined.v1",
        "agent.ready.v1",
    ]
    assert (await get_session(bench.database, row.id)).ready_at is not None


async def test_an_agent_that_never_gets_ready_fails_a_session_that_requires_it(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, required_level="ready", max_attempts=1)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "entrypoint_failed")
    assert stored.evidence == {"participant_identity": "agent-AJ_1", "reason": "not ready in time"}


async def test_a_caller_who_hangs_up_before_the_agent_came_cancels_the_session(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    async with in_background(bench.verifier.verify(await bench.current(row))):

        async def looked() -> bool:
            return "participants" in bench.rooms.calls

        await until(looked, what="the caller was seen")
        bench.rooms.people["lobby"].clear()
        looks = bench.rooms.calls.count("participants")

        async def looked_again() -> bool:
            bench.waker.wake(row.id)
            return bench.rooms.calls.count("participants") > looks

        await until(looked_again, what="the caller was seen to be gone")
        bench.clock.forward(seconds=2.5)

        async def cancelled() -> bool:
            bench.waker.wake(row.id)
            return (await get_session(bench.database, row.id)).status == S.CANCELLED

        await until(cancelled, what="the session is cancelled")
    stored = await get_session(bench.database, row.id)
    assert (stored.cause, stored.end_reason) == ("caller_left", "caller left")
    event = await last_event(bench.database, row.id)
    assert event["evidence"]["agent_missing"] == "no_worker_registered"


async def test_an_agent_that_somebody_else_dispatched_is_one_too_many(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"] += [
        make_agent("agent-theirs"),
        make_agent("agent-AJ_1", session_id=row.id, attempt=1),
    ]
    await bench.verify(row)
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-AJ_1"]


async def test_a_worker_of_ours_that_is_free_and_silent_is_not_waited_for(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    await write_heartbeat(bench.redis, make_heartbeat())
    bench.clock.forward(seconds=3.1)
    stored = await bench.verify(row)
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, row.id))["cause"] == "assignment_timeout"


async def test_a_job_that_dies_before_it_connects_is_not_waited_for(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, attempt={"assigned_at": T0, "entrypoint_at": T0, "worker_id": "w"})
    await write_heartbeat(bench.redis, make_heartbeat("w", sessions=[row.id]))
    await bench.beat(row)
    await bench.watch_silence(seconds=6.5)
    stored = await bench.verify(row)
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, row.id))["cause"] == "worker_died"


async def test_what_may_pass_is_not_tried_again_at_once(bench: Bench) -> None:
    error = {"type": "APIConnectionError", "message": "refused", "cause": "inference_unavailable"}
    stored = await bench.verify(await bench.put(S.DISPATCHED, attempt={"error": error}))
    assert stored.status == S.DISPATCHING
    assert stored.claimed_until == stored.next_check_at == bench.clock() + timedelta(seconds=2)


async def test_a_worker_that_was_full_after_all_does_not_end_the_last_attempt(bench: Bench) -> None:
    full = {"rejected_at": T0 - timedelta(seconds=2), "close_reason": "full"}
    stored = await bench.verify(await bench.put(S.DISPATCHED, max_attempts=1, attempt=full))
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, stored.id))["cause"] == "workers_at_capacity"


async def test_a_room_that_was_deleted_is_no_outage(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    await bench.rooms.delete_room("lobby")
    bench.clock.forward(seconds=5)
    stored = await bench.verify(row)
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, row.id))["cause"] == "room_closed"
    assert "dispatches" not in bench.rooms.calls


async def test_what_an_earlier_attempt_has_proven_outweighs_what_the_registry_says(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=2)
    earlier = {"outcome": "missing", "cause": Cause.WORKER_REJECTED, "evidence": {"dispatch_id": "AD_1"}}
    async with bench.database.write() as db:
        first = await db.get_one(AttemptRow, (row.id, 1))
        first.sqlmodel_update(earlier)
        second = {"dispatch_id": "AD_2", "accepted_at": T0, "outcome": "accepted", "number": 2}
        db.add(make_attempt(row, **second))
        (await db.get_one(SessionRow, row.id)).attempt = 2
    bench.clock.forward(seconds=15)
    stored = await bench.verify(await get_session(bench.database, row.id))
    assert (stored.status, stored.cause) == (S.FAILED, "worker_rejected")
    assert stored.evidence == {"dispatch_id": "AD_1", "attempt": 1}


async def test_a_worker_that_is_full_of_the_job_that_it_does_not_start_is_not_just_full(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=2)
    async with bench.database.write() as db:
        first = await db.get_one(AttemptRow, (row.id, 1))
        first.sqlmodel_update({"outcome": "missing", "cause": Cause.JOB_NOT_STARTED})
        full = {"rejected_at": T0, "reported_at": T0, "close_reason": "full", "worker_id": "AW_1"}
        db.add(make_attempt(row, number=2, accepted_at=T0, outcome="accepted", **full))
        (await db.get_one(SessionRow, row.id)).attempt = 2
    bench.clock.forward(seconds=15)
    stored = await bench.verify(await get_session(bench.database, row.id))
    assert (stored.status, stored.cause) == (S.FAILED, "job_not_started")


async def test_a_worker_that_does_nothing_again_and_again_is_left_out_and_the_cause_tells_its_past(
    bench: Bench,
) -> None:
    told = []
    for number in range(MOST_FAILURES + 1):
        for worker in ("w-1", "w-2"):
            await write_heartbeat(bench.redis, make_heartbeat(worker))
        placed = {"chosen_worker_id": "w-1", "address": "at-w-1", "accepted_at": bench.clock()}
        bench.rooms.open_room(room := f"room-{number}", make_caller())
        row = await bench.put(S.DISPATCHED, room_name=room, room_sid=bench.rooms.sids[room], attempt=placed)
        bench.clock.forward(seconds=4)
        await bench.verify(row)
        missing = await last_event(bench.database, row.id)
        told.append(
            (missing["cause"], missing["evidence"]["worker_id"], missing["evidence"]["worker_before"])
        )
    assert told == [
        (Cause.ASSIGNMENT_TIMEOUT, "w-1", before)
        for before in (
            "no dispatch was sent to it before",
            "took 0 of the last 1 dispatch and joined none",
            "took 0 of the last 2 dispatches and joined none",
            "took 0 of the last 3 dispatches and joined none",
        )
    ]
    await write_heartbeat(bench.redis, make_heartbeat("w-1"))
    await write_heartbeat(bench.redis, make_heartbeat("w-2"))
    assert [w.is_left_out for w in (await read_fleet(bench.redis)).workers] == [True, False]
    row = await bench.put(S.DISPATCHED, attempt={"chosen_worker_id": "w-1", "reported_at": T0})
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    await bench.verify(row)
    assert [w.is_left_out for w in (await read_fleet(bench.redis)).workers] == [False, False]


async def test_after_its_workers_own_window_an_attempt_is_over_while_no_other_worker_owes_an_answer(
    bench: Bench,
) -> None:
    for worker in ("w-1", "w-2"):
        await write_heartbeat(bench.redis, make_heartbeat(worker))
        for number in range(FEWEST):
            await note_answer(bench.redis, worker, f"s:{number}", since=T0, seconds=0.1)
    sent = bench.clock() + OVERTAKEN
    placed = {"chosen_worker_id": "w-1", "address": "at-w-1", "accepted_at": sent}
    row = await bench.put(S.DISPATCHED, attempt=placed)
    await expect_answer(bench.redis, "w-2", "other:1", since=sent, longest_s=3)
    bench.clock.forward(seconds=OVERTAKEN.total_seconds() + 1.5)
    async with in_background(bench.verifier.verify(await bench.current(row))):

        async def looked() -> bool:
            return bench.rooms.calls.count("participants") >= 2

        await until(looked, what="the room was looked at again")
        assert (await get_session(bench.database, row.id)).status == S.DISPATCHED, "w-2 may be slow as well"
        await note_answer(bench.redis, "w-2", "other:1", since=sent, seconds=1.4)

        async def over() -> bool:
            await write_heartbeat(bench.redis, make_heartbeat("w-2"))
            return (await get_session(bench.database, row.id)).status == S.DISPATCHING

        await until(over, what="the attempt is over")
    missing = await last_event(bench.database, row.id)
    assert (missing["evidence"]["worker_id"], missing["evidence"]["window_s"]) == ("w-1", 1.0)
