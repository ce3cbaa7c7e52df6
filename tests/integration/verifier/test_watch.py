"""The watch replaces a lost agent, or ends the session."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from livekit.protocol.models import ParticipantInfo, ParticipantPermission
from structlog.testing import capture_logs

from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from tests.integration.rows import (
    event_types,
    get_events,
    get_session,
    last_event,
)
from tests.integration.verifier.verifier_bench import Bench
from tests.unit.fake_rooms import unreachable
from tests.unit.making import T0, make_agent, make_caller

S = SessionStatus
OURS = {"assigned_at": T0, "reported_at": T0}
STRANGER = {"active_at": T0, "arrived_at": T0, "ready_at": T0, "first_speech_at": T0}


async def test_an_agent_that_stays_is_looked_at_again_later(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, T0 + timedelta(seconds=10))


async def test_an_agent_that_is_lost_is_replaced_with_a_budget_of_its_own(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={**OURS, "worker_id": "worker-9"})
    bench.clock.forward(minutes=5)
    stored = await bench.check(row)
    assert (stored.status, stored.revivals, stored.max_attempts) == (S.DISPATCHING, 1, 4)
    assert stored.deadline_at == bench.clock() + timedelta(seconds=15)
    assert (stored.agent_identity, stored.agent_sid) == (None, None)
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["evidence"]["worker_id"]) == ("agent.lost.v1", "worker-9")


async def test_an_agent_that_was_lost_too_often_is_given_up(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS, revivals=2)
    stored = await bench.check(row)
    assert (stored.status, stored.cause) == (S.FAILED, "agent_left")


async def test_an_agent_that_said_goodbye_ends_the_session(bench: Bench) -> None:
    goodbye = {**OURS, "closed_at": T0, "close_reason": "user_initiated"}
    stored = await bench.check(await bench.put(S.ACTIVE, attempt=goodbye))
    assert (stored.status, stored.end_reason) == (S.ENDED, "user_initiated")
    assert (await last_event(bench.database, stored.id))["type"] == "session.ended.v1"


async def test_a_room_that_is_closed_ends_the_session(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, caller_joined_at=T0)
    await bench.rooms.delete_room("lobby")
    stored = await bench.check(row)
    assert (stored.status, stored.end_reason) == (S.ENDED, "room closed")


async def test_a_livekit_that_is_away_is_no_proof_that_the_agent_is_gone(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE)
    bench.rooms.down = unreachable()
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, T0 + timedelta(seconds=10))


@pytest.mark.sql
async def test_of_two_watches_one_rules(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS)
    read = [await bench.current(row) for _ in range(4)]
    await asyncio.gather(*(bench.watch.check(current) for current in read))
    assert (await event_types(bench.database, row.id)).count("agent.lost.v1") == 1


async def test_an_agent_whose_job_beats_no_more_is_taken_out_and_replaced(bench: Bench) -> None:
    ready = {**OURS, "ready_at": T0}
    row = await bench.put(S.ACTIVE, attempt=ready, agent_identity="agent-AJ_1")
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    await bench.beat(row)
    await bench.watch_silence(seconds=2)
    assert (await bench.check(row)).status == S.ACTIVE
    await bench.watch_silence(seconds=1)
    await bench.watch.fell_silent(row.id)
    stored = await get_session(bench.database, row.id)
    assert (stored.status, stored.revivals) == (S.DISPATCHING, 1)
    assert bench.rooms.identities("lobby") == ["caller-1"]
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["cause"], event["revival"]) == ("agent.lost.v1", "worker_died", 1)


async def test_the_silence_of_an_earlier_attempt_says_nothing_of_this_one(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    await bench.beat(row, attempt=7)
    await bench.watch_silence(seconds=4)
    assert (await bench.check(row)).status == S.ACTIVE


async def test_a_livekit_that_is_away_while_a_job_is_silent_is_asked_again_soon(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={**OURS, "ready_at": T0})
    await bench.beat(row)
    await bench.watch_silence(seconds=3)
    bench.rooms.down = unreachable()
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, bench.clock() + timedelta(seconds=1))


async def test_a_canary_that_was_proven_ends_by_itself(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, canary=True)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    stored = await bench.check(row)
    assert (stored.status, stored.end_reason) == (S.ENDED, "canary passed")


async def test_a_canary_whose_agent_reports_a_fault_has_not_passed(bench: Bench) -> None:
    error = {"type": "APIConnectionError", "message": "refused", "cause": "inference_unavailable"}
    row = await bench.put(S.ACTIVE, canary=True, attempt={"error": error})
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    stored = await bench.check(row)
    assert (stored.status, stored.cause) == (S.FAILED, "inference_unavailable")


async def test_that_an_unreporting_agent_listens_is_noted_once(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, agent_identity="agent-AJ_1")
    bench.rooms.people["lobby"].append(make_agent(attributes={"lk.agent.state": "listening"}))
    stored = await bench.check(row)
    assert stored.ready_at == T0
    await bench.check(stored)
    assert (await event_types(bench.database, row.id)).count("agent.ready.v1") == 1


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("attempt", [{"assigned_at": T0, "ready_at": T0}, {}], ids=["ours", "unreporting"])
async def test_a_lost_agent_is_not_replaced_for_recorders_and_listeners(
    bench: Bench, silent: bool, attempt: dict[str, Any]
) -> None:
    row = await bench.put(S.ACTIVE, attempt=attempt)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    await bench.check(row)
    hidden, recorder = ParticipantPermission(hidden=True), ParticipantPermission(recorder=True)
    bench.rooms.people["lobby"] = [
        make_caller("listener", permission=hidden),
        make_caller("recorder", permission=recorder),
        make_caller("egress", kind=ParticipantInfo.Kind.EGRESS),
    ]
    if silent:
        await bench.beat(row)
        await bench.watch_silence(seconds=3)
    stored = await bench.check(await get_session(bench.database, row.id))
    assert (stored.status, stored.end_reason, stored.revivals) == (S.ENDED, "caller left", 0)


async def test_an_agent_that_is_lost_before_its_caller_came_is_replaced_for_him(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={"assigned_at": T0})
    bench.rooms.people["lobby"] = [make_agent("agent-of-others", name="another")]
    assert (await bench.check(row)).status == S.DISPATCHING


@pytest.mark.parametrize("ours", [True, False])
async def test_an_agent_that_nobody_dispatched_is_told_of_once_and_taken_out_of_a_room_of_ours(
    bench: Bench, ours: bool
) -> None:
    row = await bench.put(S.ACTIVE, room_is_ours=ours)
    mine = make_agent(session_id=row.id, attempt=1)
    bench.rooms.people["lobby"] += [
        mine,
        make_agent("agent-unnamed", name=""),
        make_agent("avatar", name="", attributes={"lk.publish_on_behalf": mine.identity}),
        make_agent("translator", name="translator"),
    ]
    for _ in range(2):
        await bench.check(await get_session(bench.database, row.id))
    stays = [] if ours else ["agent-unnamed"]
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-AJ_1", *stays, "avatar", "translator"]
    told = [e for e in await get_events(bench.database, row.id) if e.type == "agent.foreign_seen.v1"]
    assert [(e.data["participant_identity"], e.data["removed"]) for e in told] == [("agent-unnamed", ours)]
    assert "agent_name" in told[0].data["advice"]


async def _left(bench: Bench, reason: str, *, calls_back: int = 0, **attempt: Any) -> SessionRow:
    """An agent that has been there for a minute leaves, and LiveKit says how."""
    left_at = T0 + timedelta(minutes=1)
    row = await bench.put(
        S.ACTIVE,
        attempt={**STRANGER, "left_at": left_at, "left_reason": reason, **attempt},
        active_at=T0,
        revivals=calls_back,
    )
    bench.clock.forward(minutes=1)
    return await bench.check(row)


async def test_an_agent_that_left_as_it_meant_to_is_never_called_back(bench: Bench) -> None:
    stored = await _left(bench, "client_initiated")
    assert (stored.status, stored.end_reason) == (S.ENDED, "agent left")


async def test_an_agent_that_was_lost_is_called_back_and_the_cause_is_how_it_left(bench: Bench) -> None:
    stored = await _left(bench, "connection_timeout")
    assert stored.status == S.DISPATCHING
    event = await last_event(bench.database, stored.id)
    assert (event["cause"], event["evidence"]["reason"]) == ("worker_died", "connection_timeout")


async def test_a_session_that_lost_its_agent_for_good_does_not_say_that_none_joined(bench: Bench) -> None:
    with capture_logs() as lines:
        stored = await _left(bench, "participant_removed", calls_back=2)
    assert stored.status == S.FAILED
    event = await last_event(bench.database, stored.id)
    assert (event["type"], event["agent_joined"], event["revivals"]) == ("session.failed.v1", True, 2)
    [critical] = [line for line in lines if line["log_level"] == "critical"]
    assert critical["event"] == "agent_not_replaced"
    assert critical["message"].startswith("CRITICAL: agent lost from room lobby")


@pytest.mark.sql
async def test_where_a_webhook_will_say_how_the_agent_left_it_is_waited_for(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=STRANGER, active_at=T0)
    assert (await bench.check(row)).status == S.ACTIVE
    bench.clock.forward(seconds=2)
    assert (await bench.check(row)).status == S.DISPATCHING


async def test_a_caller_who_never_comes_holds_no_slot_for_long(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS, active_at=T0)
    bench.rooms.people["lobby"] = [make_agent(session_id=row.id, attempt=1)]
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, T0 + timedelta(seconds=10))
    bench.clock.forward(seconds=60)
    stored = await bench.check(row)
    assert (stored.status, stored.end_reason, stored.cause) == (S.ENDED, "caller_never_came", None)


async def test_a_caller_whom_only_a_look_has_shown_has_come(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt=OURS, active_at=T0)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    assert (await bench.check(row)).caller_joined_at == T0
    bench.rooms.people["lobby"] = [make_agent(session_id=row.id, attempt=1)]
    bench.clock.forward(minutes=5)
    assert (await bench.check(row)).status == S.ACTIVE, "its agent reports, and ends the session itself"


@pytest.mark.parametrize(
    ("seen", "left_reason", "reason"),
    [
        (False, None, "caller_never_came"),
        (False, "room_closed", "caller_never_came"),
        (False, "room_deleted", "room closed"),
        (True, None, "room closed"),
    ],
)
async def test_a_room_to_which_nobody_came_is_not_just_closed(
    bench: Bench, seen: bool, left_reason: str | None, reason: str
) -> None:
    attempt = {**STRANGER, "left_reason": left_reason}
    row = await bench.put(S.ACTIVE, attempt=attempt, active_at=T0, caller_joined_at=T0 if seen else None)
    await bench.rooms.delete_room("lobby")
    assert (await bench.check(row)).end_reason == reason


async def test_an_unreporting_agent_does_not_outstay_its_caller(bench: Bench) -> None:
    row = await bench.put(
        S.ACTIVE, attempt=STRANGER, active_at=T0, agent_identity="agent-AJ_1", caller_joined_at=T0
    )
    agent = make_agent(attributes={"lk.agent.state": "listening"})
    bench.rooms.people["lobby"] = [agent]
    stored = await bench.check(row)
    assert (stored.status, stored.caller_left_at) == (S.ACTIVE, T0)
    bench.clock.forward(seconds=1)
    bench.rooms.people["lobby"] = [agent, make_caller()]
    assert (await bench.check(row)).caller_left_at is None, "he is back"
    for seconds in (0, 2):
        bench.clock.forward(seconds=seconds)
        bench.rooms.people["lobby"] = [agent]
        stored = await bench.check(row)
    assert (stored.status, stored.end_reason) == (S.ENDED, "caller left")


async def test_that_an_unreporting_agent_speaks_is_noted_once(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, agent_identity="agent-AJ_1")
    bench.rooms.people["lobby"].append(make_agent(attributes={"lk.agent.state": "speaking"}))
    for _ in range(2):
        stored = await bench.check(row)
        assert (stored.ready_at, stored.first_speech_at) == (T0, T0)
    assert (await event_types(bench.database, row.id)).count("agent.first_speech.v1") == 1
