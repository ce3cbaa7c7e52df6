"""One attempt leaves exactly one dispatch of the session in LiveKit, whatever was there before."""

from typing import Any

import pytest

from services.dispatcher.claims import Claim
from services.dispatcher.livekit_dispatch import place_dispatch
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.identifiers import SessionId
from shared.core.sessions.tables import SessionRow
from shared.platform.livekit.client import LiveKitError
from tests.unit.fake_rooms import FakeRooms, not_found, refused_key, unreachable
from tests.unit.making import make_agent, make_caller, make_session


@pytest.fixture
def rooms() -> FakeRooms:
    return FakeRooms()


def a_claim(
    row: SessionRow | None = None, *, attempt: int = 1, unsure: bool = False, ours: bool = True
) -> Claim:
    row = row or make_session(room_is_ours=ours, client_metadata={"customer": "c-1"})
    row.attempt = attempt
    return Claim(row, DispatchOrder(session_id=SessionId(row.id), attempt=attempt), unsure)


async def place(claim: Claim, rooms: FakeRooms) -> str:
    placed = await place_dispatch(claim, rooms=rooms, empty_timeout_s=120, departure_timeout_s=20)
    assert placed.room_sid == rooms.sids[claim.row.room_name]
    return placed.dispatch_id


def of_attempt(claim: Claim, attempt: int) -> dict[str, str]:
    return DispatchOrder(session_id=claim.order.session_id, attempt=attempt).attributes()


async def test_a_fresh_room_is_made_with_its_agent_in_one_call(rooms: FakeRooms) -> None:
    claim = a_claim()
    dispatch_id = await place(claim, rooms)
    [made] = rooms.in_force[claim.row.room_name]
    assert made.id == dispatch_id
    assert made.agent_name == "agent"
    assert claim.order.is_of(made.attributes)
    assert rooms.calls == ["create_room", "dispatches"]


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        ({"customer": "c-1"}, '{"customer": "c-1"}'),
        ({"rollcall": {"attempt": 99}}, '{"rollcall": {"attempt": 99}}'),
        ("plain words", "plain words"),
        ("", ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("ours", [True, False], ids=["a new room", "a room that is there"])
async def test_the_dispatchs_metadata_is_the_clients_to_the_letter_and_the_order_is_beside_it(
    rooms: FakeRooms, given: dict[str, Any] | str, carried: str, ours: bool
) -> None:
    claim = a_claim(make_session(room_is_ours=ours, client_metadata=given))
    if not ours:
        rooms.open_room(claim.row.room_name, make_caller())
    await place(claim, rooms)
    [made] = rooms.in_force[claim.row.room_name]
    assert made.metadata == carried
    assert DispatchOrder.of_job(attributes=made.attributes, metadata=made.metadata) == claim.order


async def test_a_dispatch_that_an_older_dispatcher_made_is_found_again(rooms: FakeRooms) -> None:
    claim = a_claim(ours=False)
    rooms.open_room(claim.row.room_name, make_caller())
    made = rooms.add_dispatch(claim.row.room_name, claim.order.attributes())
    assert await place(claim, rooms) == made.id


async def test_an_existing_room_gets_a_dispatch_and_is_not_made_anew(rooms: FakeRooms) -> None:
    claim = a_claim(ours=False)
    rooms.open_room(claim.row.room_name, make_caller())
    dispatch_id = await place(claim, rooms)
    assert [d.id for d in rooms.in_force[claim.row.room_name]] == [dispatch_id]
    assert "create_room" not in rooms.calls


async def test_a_room_that_was_asked_for_by_name_and_is_not_there_yet_is_made(rooms: FakeRooms) -> None:
    claim = a_claim(ours=False)
    dispatch_id = await place(claim, rooms)
    assert [d.id for d in rooms.in_force[claim.row.room_name]] == [dispatch_id]
    assert "create_dispatch" not in rooms.calls


async def test_a_caller_who_was_quicker_still_gets_one_agent(rooms: FakeRooms) -> None:
    claim = a_claim()
    rooms.open_room(claim.row.room_name, make_caller())  # joining made the room, without a dispatch
    dispatch_id = await place(claim, rooms)
    assert [d.id for d in rooms.in_force[claim.row.room_name]] == [dispatch_id]
    assert rooms.calls == ["create_room", "dispatches", "create_dispatch"]


async def test_a_dispatch_of_somebody_else_in_the_room_is_not_taken_for_ours(rooms: FakeRooms) -> None:
    claim = a_claim(ours=False)
    rooms.open_room(claim.row.room_name)
    theirs = rooms.add_dispatch(claim.row.room_name, {}, agent_name="agent")
    dispatch_id = await place(claim, rooms)
    assert dispatch_id != theirs.id
    assert {d.id for d in rooms.in_force[claim.row.room_name]} == {theirs.id, dispatch_id}


async def test_an_uncertain_call_that_took_effect_is_found_and_not_made_again(rooms: FakeRooms) -> None:
    first = a_claim()
    rooms.fails_next["create_room"] = unreachable(uncertain=True)
    rooms.after_effect.add("create_room")
    with pytest.raises(LiveKitError):
        await place(first, rooms)
    again = a_claim(first.row, unsure=True)
    dispatch_id = await place(again, rooms)
    assert [d.id for d in rooms.in_force[first.row.room_name]] == [dispatch_id]
    assert "create_dispatch" not in rooms.calls


async def test_an_uncertain_call_that_took_no_effect_is_made_again(rooms: FakeRooms) -> None:
    first = a_claim()
    rooms.fails_next["create_room"] = unreachable(uncertain=True)
    with pytest.raises(LiveKitError):
        await place(first, rooms)
    dispatch_id = await place(a_claim(first.row, unsure=True), rooms)
    assert [d.id for d in rooms.in_force[first.row.room_name]] == [dispatch_id]


async def test_a_second_delivery_of_the_same_attempt_finds_the_first_ones_dispatch(rooms: FakeRooms) -> None:
    claim = a_claim()
    first = await place(claim, rooms)
    second = await place(a_claim(claim.row, unsure=True), rooms)
    assert first == second
    assert len(rooms.in_force[claim.row.room_name]) == 1


async def test_an_earlier_attempts_dispatch_is_withdrawn_before_the_new_one(rooms: FakeRooms) -> None:
    claim = a_claim(attempt=2)
    rooms.open_room(claim.row.room_name, make_caller())
    earlier = rooms.add_dispatch(claim.row.room_name, of_attempt(claim, 1))
    dispatch_id = await place(claim, rooms)
    assert dispatch_id != earlier.id
    assert [d.id for d in rooms.in_force[claim.row.room_name]] == [dispatch_id]
    assert rooms.calls.index("delete_dispatch") < rooms.calls.index("create_dispatch")


async def test_an_earlier_attempts_agent_leaves_before_the_new_one_is_called(rooms: FakeRooms) -> None:
    claim = a_claim(attempt=2)
    late = make_agent("agent-AJ_1", session_id=claim.row.id, attempt=1)
    rooms.open_room(claim.row.room_name, make_caller(), late)
    rooms.give_job(rooms.add_dispatch(claim.row.room_name, of_attempt(claim, 1)), late.identity)
    await place(claim, rooms)
    assert rooms.identities(claim.row.room_name) == ["caller-1"]
    assert "remove_participant" not in rooms.calls  # LiveKit sent it away with its dispatch


@pytest.mark.parametrize("says_who_it_is", [True, False])
async def test_a_ghost_of_an_earlier_attempt_is_soon_removed(
    rooms: FakeRooms, says_who_it_is: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = a_claim(attempt=2)
    known = {"session_id": claim.row.id, "attempt": 1} if says_who_it_is else {}
    ghost = make_agent("agent-AJ_1", **known)  # type: ignore[arg-type]
    rooms.open_room(claim.row.room_name, make_caller(), ghost)
    rooms.give_job(rooms.add_dispatch(claim.row.room_name, of_attempt(claim, 1)), ghost.identity)
    rooms.ghosts.add(ghost.identity)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("services.dispatcher.livekit_dispatch.asyncio.sleep", pause)
    await place(claim, rooms)
    assert sum(pauses) == pytest.approx(0.3)  # an agent that lives is gone after 0.1 s
    assert rooms.identities(claim.row.room_name) == ["caller-1"]
    assert rooms.calls.index("remove_participant") < rooms.calls.index("create_dispatch")


async def test_callers_and_other_sessions_agents_stay(rooms: FakeRooms) -> None:
    claim = a_claim(attempt=2, ours=False)
    other = make_agent("agent-other", session_id="another-session", attempt=1)
    rooms.open_room(claim.row.room_name, make_caller(), other)
    theirs = rooms.add_dispatch(
        claim.row.room_name, DispatchOrder(session_id=SessionId("another-session"), attempt=1).attributes()
    )
    await place(claim, rooms)
    assert rooms.identities(claim.row.room_name) == ["caller-1", "agent-other"]
    assert theirs in rooms.in_force[claim.row.room_name]


async def test_what_is_gone_before_it_could_be_withdrawn_is_no_error(rooms: FakeRooms) -> None:
    claim = a_claim(attempt=3)
    ghost = make_agent("agent-AJ_1", session_id=claim.row.id, attempt=1)
    rooms.open_room(claim.row.room_name, ghost)
    rooms.add_dispatch(claim.row.room_name, of_attempt(claim, 1))
    rooms.add_dispatch(claim.row.room_name, of_attempt(claim, 2))
    rooms.fails_next["delete_dispatch"] = not_found()
    rooms.fails_next["remove_participant"] = not_found()
    assert await place(claim, rooms)


async def test_a_room_that_loses_the_agents_it_was_made_with_gets_a_dispatch(rooms: FakeRooms) -> None:
    claim = a_claim()
    rooms.drops_agents_of_rooms = True
    dispatch_id = await place(claim, rooms)
    assert [d.id for d in rooms.in_force[claim.row.room_name]] == [dispatch_id]


@pytest.mark.parametrize("method", ["create_room", "dispatches", "room", "create_dispatch"])
async def test_a_failure_of_livekit_comes_through_as_it_was_classed(rooms: FakeRooms, method: str) -> None:
    claim = a_claim(unsure=method == "room")
    if method == "create_dispatch":
        rooms.open_room(claim.row.room_name)
    rooms.fails_next[method] = refused_key()
    with pytest.raises(LiveKitError) as raised:
        await place(claim, rooms)
    assert not raised.value.retryable


@pytest.mark.parametrize("ours", [True, False])
async def test_a_dispatch_that_livekit_made_by_itself_is_withdrawn_from_a_room_of_ours(
    rooms: FakeRooms, ours: bool
) -> None:
    claim = a_claim(ours=ours)
    name = claim.row.room_name
    rooms.open_room(name, make_caller(), make_agent("agent-unnamed", name=""))
    automatic = rooms.give_job(rooms.add_dispatch(name, {}, agent_name=""), "agent-unnamed")
    theirs = rooms.add_dispatch(name, {}, agent_name="", metadata="asked for")
    placed = await place_dispatch(claim, rooms=rooms, empty_timeout_s=120, departure_timeout_s=20)
    left = [dispatch.id for dispatch in rooms.in_force[name]]
    assert left == ([] if ours else [automatic.id]) + [theirs.id, placed.dispatch_id]
    assert list(placed.foreign) == (["agent-unnamed"] if ours else [])


async def test_that_a_dispatch_can_not_be_withdrawn_keeps_no_agent_from_its_caller(rooms: FakeRooms) -> None:
    claim = a_claim()
    rooms.open_room(claim.row.room_name, make_caller())
    rooms.add_dispatch(claim.row.room_name, {}, agent_name="")
    rooms.fails_next["participants"] = unreachable()
    dispatch_id = await place(claim, rooms)
    assert dispatch_id in [dispatch.id for dispatch in rooms.in_force[claim.row.room_name]]
