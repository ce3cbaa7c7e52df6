"""A reservation becomes a request when its caller comes, and otherwise expires quietly."""

from datetime import timedelta
from typing import Any

import pytest

from services.api.livekit.webhook import Received, receive_webhook
from services.verifier.admit import reservations as module
from services.verifier.admit.reservations import MOST_LOOKS, UNSEEN_FOR, Reservations
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.conftest import Queued
from tests.integration.livekit.test_webhooks_in import an_event, received
from tests.integration.rows import event_types, get_events, get_session, put_session
from tests.integration.verifier.verifier_bench import Bench
from tests.support.refusals import refused
from tests.unit.fake_rooms import FakeRooms, unreachable
from tests.unit.making import T0, FakeClock, make_agent, make_caller

pytestmark = pytest.mark.sql

S = SessionStatus
BUDGET_S = 15
CALLER = {"identity": "caller-1", "kind": "STANDARD"}
AGENT = {"identity": "agent-AJ_1", "kind": "AGENT"}


@pytest.fixture
def reservations(database: Database, rooms: FakeRooms, relay: Relay, clock: FakeClock) -> Reservations:
    return Reservations(
        database=database,
        rooms=rooms,
        relay=relay,
        limits=SessionLimitSettings(),
        join_budget_s=BUDGET_S,
        holder="me",
        now=clock,
    )


async def reserve(database: Database, room_name: str = "room", **row: object) -> SessionRow:
    values: dict[str, Any] = {"deadline_at": T0 + timedelta(minutes=15), "next_check_at": None, **row}
    return await put_session(database, status=S.RESERVED, room_name=room_name, **values)


async def hear(database: Database, clock: FakeClock, kind: str, number: int = 1, **event: object) -> Received:
    body = an_event("room", kind=kind, event_id=f"EV_{number}", **event)  # type: ignore[arg-type]
    return await receive_webhook(
        received(body), database=database, limits=SessionLimitSettings(), join_budget_s=BUDGET_S, now=clock
    )


@pytest.mark.parametrize(
    ("kind", "participant", "joined"),
    [("room_started", None, False), ("participant_joined", CALLER, True)],
)
async def test_livekits_word_of_the_caller_makes_a_request_of_it(
    database: Database, clock: FakeClock, kind: str, participant: dict[str, str] | None, joined: bool
) -> None:
    row = await reserve(database)
    clock.forward(minutes=5)
    answer = await hear(database, clock, kind, participant=participant)
    assert answer == Received(moved=[row.id])
    stored = await get_session(database, row.id)
    assert stored.status == S.REQUESTED
    assert stored.requested_at == clock()
    assert stored.deadline_at == clock() + timedelta(seconds=BUDGET_S), "it counts from the caller's join"
    assert stored.caller_joined_at == (clock() if joined else None)
    assert await event_types(database, row.id) == ["session.requested.v1"] * 2


async def test_events_out_of_order_and_twice_request_it_once(database: Database, clock: FakeClock) -> None:
    row = await reserve(database)
    await hear(database, clock, "participant_joined", 1, participant=CALLER)
    clock.forward(seconds=1)
    for number, kind in ((2, "room_started"), (1, "participant_joined"), (3, "participant_joined")):
        assert not (await hear(database, clock, kind, number, participant=CALLER)).moved
    stored = await get_session(database, row.id)
    assert (stored.requested_at, stored.caller_joined_at) == (T0, T0)
    assert len(await get_events(database, row.id)) == 2


@pytest.mark.parametrize(
    ("kind", "participant"),
    [("participant_joined", AGENT), ("participant_left", CALLER), ("room_finished", None)],
)
async def test_other_events_leave_it_reserved(
    database: Database, clock: FakeClock, kind: str, participant: dict[str, str] | None
) -> None:
    row = await reserve(database)
    await hear(database, clock, kind, participant=participant)
    assert await get_session(database, row.id) == row


async def test_without_webhooks_the_caller_is_found_in_the_room(
    database: Database, reservations: Reservations, rooms: FakeRooms, clock: FakeClock
) -> None:
    joined = await reserve(database, "a")
    empty = await reserve(database, "b")
    waits = await reserve(database, "c")
    rooms.open_room("a", make_caller())
    rooms.open_room("b", make_agent())
    clock.forward(seconds=30)
    await reservations.look_at_rooms()
    stored = await get_session(database, joined.id)
    assert (stored.status, stored.caller_joined_at, stored.requested_at) == (S.REQUESTED, clock(), clock())
    for row in (empty, waits):
        assert (await get_session(database, row.id)).status == S.RESERVED


async def test_a_look_costs_one_call_and_one_for_each_room_that_is_there(
    database: Database, reservations: Reservations, rooms: FakeRooms
) -> None:
    await reservations.look_at_rooms()
    assert rooms.calls == [], "without reservations LiveKit is not asked"
    for number in range(MOST_LOOKS + 10):
        await reserve(database, f"room-{number}")
    rooms.open_room("somebody-elses", make_caller())
    await reservations.look_at_rooms()
    assert rooms.calls == ["rooms"]
    for number in range(MOST_LOOKS + 10):
        rooms.open_room(f"room-{number}")
    await reservations.look_at_rooms()
    assert len(rooms.calls) == 2 + MOST_LOOKS


async def test_more_than_one_look_can_hold_take_turns(
    database: Database, reservations: Reservations, rooms: FakeRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROOMS", 2)
    rows = [await reserve(database, f"room-{n}", deadline_at=T0 + timedelta(minutes=n)) for n in range(1, 6)]
    for row in rows:
        rooms.open_room(row.room_name, make_caller())
    seen = []
    for _ in range(3):
        await reservations.look_at_rooms()
        seen.append([(await get_session(database, row.id)).status == S.REQUESTED for row in rows])
    assert [sum(one) for one in seen] == [2, 4, 5]


async def test_one_that_nobody_used_expires_quietly(
    database: Database, reservations: Reservations, rooms: FakeRooms, clock: FakeClock, queued: Queued
) -> None:
    row = await reserve(database, deadline_at=T0)
    clock.time = T0 - timedelta(microseconds=1)
    await reservations.look_at_rooms()
    assert (await get_session(database, row.id)).status == S.RESERVED
    clock.time = T0
    await reservations.look_at_rooms()
    stored = await get_session(database, row.id)
    assert (stored.status, stored.ended_at, stored.end_reason) == (S.EXPIRED, T0, "nobody joined")
    assert stored.next_check_at is None, "there is no room to close"
    event = (await get_events(database, row.id))[-1]
    assert (event.type, event.severity) == ("session.expired.v1", "info")
    assert await queued() == {}


async def test_a_caller_of_the_last_moment_is_not_turned_away(
    database: Database, reservations: Reservations, rooms: FakeRooms
) -> None:
    row = await reserve(database, deadline_at=T0)
    rooms.open_room("room", make_caller())
    await reservations.look_at_rooms()
    assert (await get_session(database, row.id)).status == S.REQUESTED


async def test_the_room_of_one_that_expires_is_closed(
    database: Database, reservations: Reservations, rooms: FakeRooms, bench: Bench
) -> None:
    row = await reserve(database, deadline_at=T0)
    rooms.open_room("room")
    await reservations.look_at_rooms()
    stored = await get_session(database, row.id)
    assert (stored.status, stored.next_check_at) == (S.EXPIRED, T0)
    bench.rooms.open_room("room")
    await bench.closer.close(stored)
    assert "room" not in bench.rooms.sids


async def test_a_livekit_that_is_away_is_no_reason_to_expire_for_a_while(
    database: Database, reservations: Reservations, rooms: FakeRooms, clock: FakeClock
) -> None:
    row = await reserve(database, deadline_at=T0)
    rooms.down = unreachable()
    clock.time = T0 + UNSEEN_FOR - timedelta(seconds=1)
    await reservations.look_at_rooms()
    assert (await get_session(database, row.id)).status == S.RESERVED
    clock.time = T0 + UNSEEN_FOR
    await reservations.look_at_rooms()
    assert (await get_session(database, row.id)).status == S.EXPIRED


@pytest.mark.parametrize("status", [S.EXPIRED, S.CANCELLED])
async def test_who_joins_when_it_is_over_is_put_out(
    database: Database, clock: FakeClock, bench: Bench, status: SessionStatus
) -> None:
    row = await put_session(database, status=status, room_name="room", ended_at=T0, next_check_at=None)
    await hear(database, clock, "room_started")
    stored = await get_session(database, row.id)
    assert stored.next_check_at == T0
    bench.rooms.open_room("room", make_caller())
    await bench.closer.close(stored)
    assert "room" not in bench.rooms.sids, "nobody waits in silence"


async def test_one_that_the_database_refuses_holds_up_no_other(
    database: Database, reservations: Reservations, clock: FakeClock
) -> None:
    rows = [await reserve(database, f"room-{n}", deadline_at=T0) for n in range(3)]
    clock.forward(seconds=1)
    async with refused(database, "session", "UPDATE", f"NEW.id = '{rows[1].id}'"):
        await reservations.look_at_rooms()
    statuses = [(await get_session(database, row.id)).status for row in rows]
    assert statuses == [S.EXPIRED, S.RESERVED, S.EXPIRED]
    await reservations.look_at_rooms()
    assert (await get_session(database, rows[1].id)).status == S.EXPIRED
