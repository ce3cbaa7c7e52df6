"""Rooms that outlive their session are found, and closed once more."""

from datetime import timedelta
from typing import Any

import pytest

from services.verifier.close.collect import SETTLED, Collector
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.rows import get_session, put_session
from tests.unit.fake_rooms import FakeRooms, unreachable
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

S = SessionStatus
LONG_AGO = T0 - SETTLED


@pytest.fixture
def collector(database: Database, rooms: FakeRooms, clock: FakeClock) -> Collector:
    return Collector(database=database, rooms=rooms, now=clock)


async def test_a_room_whose_session_is_over_is_closed_again(
    collector: Collector, database: Database, rooms: FakeRooms
) -> None:
    over = await put_session(database, status=S.FAILED, room_name="zombie", ended_at=LONG_AGO)
    rooms.open_room("zombie")
    assert await collector.collect() == 1
    assert (await get_session(database, over.id)).next_check_at == T0
    assert await collector.collect() == 0, "the closer is at it"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"status": S.ACTIVE}, "its session lives"),
        ({"status": S.ENDED, "ended_at": T0 - timedelta(seconds=5)}, "the closer is still at it"),
        ({"status": S.ENDED, "ended_at": LONG_AGO, "room_is_ours": False}, "it is somebody else's"),
    ],
)
async def test_other_rooms_are_left_alone(
    collector: Collector, database: Database, rooms: FakeRooms, row: dict[str, Any], why: str
) -> None:
    await put_session(database, room_name="room", **row)
    rooms.open_room("room")
    rooms.open_room("nobody-of-ours")
    assert await collector.collect() == 0, why


async def test_a_room_that_a_later_session_lives_in_is_left_alone(
    collector: Collector, database: Database, rooms: FakeRooms
) -> None:
    await put_session(database, status=S.ENDED, room_name="again", ended_at=LONG_AGO)
    await put_session(database, status=S.DISPATCHED, room_name="again")
    rooms.open_room("again")
    assert await collector.collect() == 0


async def test_a_livekit_that_is_away_is_asked_at_the_next_turn(
    collector: Collector, rooms: FakeRooms
) -> None:
    rooms.down = unreachable()
    assert await collector.collect() == 0
