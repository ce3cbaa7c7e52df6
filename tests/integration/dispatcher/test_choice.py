"""Who gets a dispatch: the worker that was chosen, or whom LiveKit draws."""

from redis.asyncio import Redis
from sqlalchemy import update
from sqlmodel import col

from services.dispatcher.dispatch import Dispatcher
from shared.contracts.causes import Cause
from shared.contracts.keys import circuit_pause_key
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.workers.placing import CIRCUIT, note_arrived, note_ignored
from shared.core.workers.registry import read_fleet
from shared.core.workers.track_record import MOST_FAILURES, Result, circuit_of, note_failed
from shared.platform.database.database import Database
from tests.integration.api_client import beat_for_ever
from tests.integration.rows import get_attempts, get_session, put_session
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


async def test_other_workers_go_before_one_that_did_not_answer_a_moment_ago(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    busy = {"active_jobs": 9, "max_jobs": 10}
    await beat_for_ever(redis, make_heartbeat(worker_id="w-1", address="at-w-1"))
    await beat_for_ever(redis, make_heartbeat(worker_id="w-2", address="at-w-2", **busy))
    await note_failed(redis, "w-1", Result.SILENT, dispatch="another:1")
    went = [await dispatched_to(database, dispatcher, rooms, await put_session(database)) for _ in range(2)]
    assert went == ["at-w-2", "at-w-1"], "the silent one still gets what no other has a slot for"


async def test_where_addressed_dispatches_arrive_the_last_attempt_is_addressed_too(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    for worker in ("w-1", "w-2", "w-3"):
        await beat_for_ever(redis, make_heartbeat(worker_id=worker, address=f"at-{worker}"))
    await note_arrived(redis)
    went = []
    for _ in range(3):
        went.append(await dispatched_to(database, dispatcher, rooms, row))
        await came_to_nothing(database, row)
    assert sorted(went) == ["at-w-1", "at-w-2", "at-w-3"]


async def test_a_server_that_does_not_deliver_to_addresses_is_asked_by_name(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    await beat_for_ever(redis, make_heartbeat(address="here"))
    await note_ignored(redis)
    assert await dispatched_to(database, dispatcher, rooms, await put_session(database)) == ""
    await redis.delete(circuit_pause_key(CIRCUIT))
    went = [await dispatched_to(database, dispatcher, rooms, await put_session(database)) for _ in range(2)]
    assert went == ["here", ""], "one session tries"


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


async def test_a_worker_that_is_left_out_gets_one_session_after_its_pause(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    for worker in ("w-1", "w-2"):
        await beat_for_ever(redis, make_heartbeat(worker, address=f"at-{worker}"))
    for number in range(MOST_FAILURES):
        await note_failed(redis, "w-1", Result.SILENT, dispatch=str(number))
    went = [await dispatched_to(database, dispatcher, rooms, await put_session(database)) for _ in range(3)]
    assert went == ["at-w-2"] * 3
    await redis.delete(circuit_pause_key(circuit_of("w-1")))
    went = [await dispatched_to(database, dispatcher, rooms, await put_session(database)) for _ in range(3)]
    assert went == ["at-w-1", "at-w-2", "at-w-2"]
    [w_1, _] = (await read_fleet(redis)).workers
    assert w_1.is_left_out, "until that session has its agent"


async def test_while_the_others_are_full_sessions_wait_and_go_to_no_worker_that_is_left_out(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat("w-1", address="at-w-1"))
    await beat_for_ever(redis, make_heartbeat("w-2", address="at-w-2", active_jobs=10))
    for number in range(MOST_FAILURES):
        await note_failed(redis, "w-1", Result.SILENT, dispatch=str(number))
    await dispatcher.dispatch_session(row.id)
    assert row.room_name not in rooms.sids
    assert (await get_session(database, row.id)).waiting_for == Cause.WORKERS_AT_CAPACITY
