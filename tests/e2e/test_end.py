"""A session is ended by request in each of its states: the agent goes, the room closes."""

import pytest

from shared.contracts.identifiers import new_id
from tests.support.guests import guest
from tests.support.sessions import TERMINAL, Rollcall, until

pytestmark = pytest.mark.e2e


async def test_delete_while_requested_means_that_nothing_is_ever_dispatched(rollcall: Rollcall) -> None:
    dispatcher = rollcall.stack.process("dispatcher")
    await rollcall.freeze("dispatcher")
    try:
        started = await rollcall.start()
        ended = await rollcall.end(started["session_id"])
        assert ended["status"] == "cancelled"
    finally:
        dispatcher.thaw()
    # The dispatcher works again: a later session gets through it, and the cancelled one must not have.
    later = await rollcall.start()
    await rollcall.until_status(later["session_id"], "active")
    assert (await rollcall.session(started["session_id"]))["attempts"] == []
    assert not await rollcall.room_exists(started["room_name"])
    await rollcall.end(later["session_id"])


async def test_delete_while_dispatching_withdraws_what_the_dispatcher_was_making(
    rollcall: Rollcall,
) -> None:
    livekit = rollcall.stack.process("livekit")
    livekit.freeze()  # the dispatcher's call hangs
    try:
        started = await rollcall.start()
        await rollcall.until_event(started["session_id"], "dispatch.started.v1")
        ended = await rollcall.end(started["session_id"])
        assert ended["status"] == "cancelled"
    finally:
        livekit.thaw()
    await rollcall.until_gone(started["room_name"])
    assert "agent.joined.v1" not in await rollcall.event_types(started["session_id"])
    # The dispatcher has seen LiveKit answer again, so that no session waits when the next test begins.
    later = await rollcall.start()
    await rollcall.until_status(later["session_id"], "active")
    await rollcall.end(later["session_id"])


async def test_delete_while_dispatched_leaves_no_agent_and_no_room(rollcall: Rollcall) -> None:
    verifier = rollcall.stack.process("verifier")
    await rollcall.freeze("verifier")
    try:
        started = await rollcall.start()
        await rollcall.until_event(started["session_id"], "dispatch.accepted.v1")
        ended = await rollcall.end(started["session_id"])
        assert ended["status"] == "cancelled"
    finally:
        verifier.thaw()
    await rollcall.until_gone(started["room_name"])


async def test_delete_while_active_sends_the_agent_away_and_closes_the_room(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    await rollcall.until_status(started["session_id"], "active")
    ended = await rollcall.end(started["session_id"])
    assert ended["status"] == "ended"
    assert ended["end_reason"] == "ended by request"
    await rollcall.until_gone(started["room_name"])
    assert (await rollcall.end(started["session_id"]))["status"] == "ended", "a second DELETE changes nothing"

    async def slots_free() -> bool:
        return all(w["active_jobs"] == 0 for w in (await rollcall.get("/v1/workers"))["workers"])

    await until(slots_free, what="the worker's slot is free again")


async def test_delete_after_the_end_changes_nothing(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    first = await rollcall.end(started["session_id"])
    assert first["status"] in TERMINAL
    again = await rollcall.end(started["session_id"])
    # An agent that was about to join may still report.
    assert {**again, "timings": {}} == {**first, "timings": {}}
    assert again["timings"]["ended_at"] == first["timings"]["ended_at"]
    events = await rollcall.event_types(started["session_id"])
    assert [name for name in events if name.startswith("session.")] == [
        "session.requested.v1",
        f"session.{first['status']}.v1",
    ]


@pytest.mark.parametrize("how", ["hang-up", "delete"])
async def test_a_name_that_is_started_again_at_once_is_the_second_calls(rollcall: Rollcall, how: str) -> None:
    wish = {"room_name": f"again-{new_id()}", "participant_identity": "customer"}
    first = await rollcall.start(**wish)
    async with guest(first):
        await rollcall.until_status(first["session_id"], "active")
        if how == "delete":
            await rollcall.end(first["session_id"])
    await rollcall.until_status(first["session_id"], "ended")
    second = await rollcall.start(**wish)
    async with guest(second) as room:
        session = await rollcall.until_status(second["session_id"], "active")
        await rollcall.until_cleared(first["session_id"])
        assert room.isconnected()
        assert (await rollcall.session(second["session_id"]))["status"] == "active"
        assert await rollcall.agents_in(wish["room_name"]) == [session["agent_identity"]]
    await rollcall.until_status(second["session_id"], "ended")


async def test_delete_leaves_the_other_people_of_a_room_in_their_conversation(rollcall: Rollcall) -> None:
    started = await rollcall.start(room_name=f"shared-{new_id()}")
    async with (
        guest(started) as caller,
        guest({**started, **rollcall.token_for(started, "another")}) as other,
    ):
        await rollcall.until_status(started["session_id"], "active")
        await rollcall.end(started["session_id"])
        await rollcall.until_cleared(started["session_id"])
        assert [room.isconnected() for room in (caller, other)] == [True, True]
        assert await rollcall.agents_in(started["room_name"]) == []
