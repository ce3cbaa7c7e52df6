"""Who gets a dispatch: the worker that was chosen, or whom LiveKit draws."""

from redis.asyncio import Redis
from sqlalchemy import update
from sqlmodel import col

from services.dispatcher.dispatch import Dispatcher
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.database.database import Database
from tests.integration.api_client import beat_for_ever
from tests.integration.rows import get_attempts, put_session
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import make_heartbeat


async def dispatched_to(database: Database, dispatcher: Dispatcher, rooms: FakeRooms, row: SessionRow) -> str:
    """Dispatch the session, and return the `deployment` of its newest dispatch."""
    await dispatcher.dispatch_session(row.id)
    return str((await rooms.dispatches(row.room_name))[-1].deployment)


async def came_to_nothing(database: Database, row: SessionRow) -> None:
    """The verifier gives the attempt up, and asks for another."""
    async with database.write() as db:
        await db.execute(
            update(AttemptRow).where(col(AttemptRow.session_id) == row.id).values(outcome="missing")
        )
        await db.execute(
            update(SessionRow)
            .where(col(SessionRow.id) == row.id)
            .values(status=SessionStatus.DISPATCHING, claimed_until=None)
        )


async def test_another_attempt_goes_to_another_worker_and_the_last_one_by_name(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    for worker in ("w-1", "w-2", "w-3"):
        await beat_for_ever(redis, make_heartbeat(worker_id=worker, address=f"at-{worker}"))
    went = []
    for _ in range(3):
        went.append(await dispatched_to(database, dispatcher, rooms, row))
        await came_to_nothing(database, row)
    assert len({went[0], went[1]} & {"at-w-1", "at-w-2", "at-w-3"}) == 2
    assert went[2] == "", "a server that does not deliver to addresses must not keep it from its agent"
    attempts = await get_attempts(database, row.id)
    assert [one.address for one in attempts] == [went[0], went[1], None]
    assert [one.chosen_worker_id for one in attempts] == [went[0][3:], went[1][3:], None]


async def test_the_only_worker_gets_no_second_attempt_by_its_address(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(address="here"))
    assert await dispatched_to(database, dispatcher, rooms, row) == "here"
    await came_to_nothing(database, row)
    assert await dispatched_to(database, dispatcher, rooms, row) == ""


async def test_workers_without_an_address_are_left_to_livekit(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat())
    assert await dispatched_to(database, dispatcher, rooms, row) == ""
