"""One task of the dispatcher, on a real database and a real Redis, with a LiveKit made of memory."""

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from redis.asyncio import Redis

from services.dispatcher.claim import Ledger
from services.dispatcher.dispatch import CAPACITY_RECHECK, Dispatcher
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.events import SessionCancelled
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import fence_key
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from shared.runtime.outbox import Relay
from shared.runtime.redis import connect_redis
from shared.runtime.registry import write_heartbeat
from shared.runtime.sessions import advance
from shared.runtime.tables import SessionRow
from tests.integration.rows import event_types, get_attempts, get_session, put_session
from tests.unit.fake_rooms import FakeRooms, refused_key, unreachable
from tests.unit.making import T0, FakeClock, make_heartbeat

S = SessionStatus


@pytest.fixture
def rooms() -> FakeRooms:
    return FakeRooms()


def make_dispatcher(
    database: Database, redis: Redis, relay: Relay, rooms: FakeRooms, clock: FakeClock
) -> Dispatcher:
    settings = DispatcherSettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key="devkey",
        livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
    )
    ledger = Ledger(database, retry_delay_s=1.0, now=clock)
    return Dispatcher(ledger=ledger, rooms=rooms, redis=redis, relay=relay, settings=settings)


@pytest.fixture
def dispatcher(
    database: Database, redis: Redis, relay: Relay, rooms: FakeRooms, clock: FakeClock
) -> Dispatcher:
    return make_dispatcher(database, redis, relay, rooms, clock)


async def test_a_session_is_dispatched_once_however_often_its_task_is_delivered(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    await dispatcher.dispatch_session(row.id)
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    [made] = rooms.in_force[row.room_name]
    [attempt] = await get_attempts(database, row.id)
    assert (stored.status, attempt.dispatch_id) == (S.DISPATCHED, made.id)
    assert await event_types(database, row.id) == [
        "session.requested.v1",
        "dispatch.started.v1",
        "dispatch.accepted.v1",
    ]


async def test_the_fence_is_raised_to_the_attempt_before_livekit_is_called(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    rooms.down = unreachable()
    await dispatcher.dispatch_session(row.id)
    assert await redis.get(fence_key(SessionId(row.id))) == "1"
    assert await redis.ttl(fence_key(SessionId(row.id))) > 3600


@pytest.mark.parametrize(
    ("worker", "cause"),
    [({"active_jobs": 10}, "workers_at_capacity"), ({"draining": True}, "worker_draining")],
)
async def test_without_a_free_worker_the_session_waits_and_says_why(
    database: Database,
    dispatcher: Dispatcher,
    redis: Redis,
    rooms: FakeRooms,
    worker: dict[str, object],
    cause: str,
) -> None:
    row = await put_session(database)
    await write_heartbeat(redis, make_heartbeat(**worker))
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for, stored.attempt) == (S.REQUESTED, cause, 0)
    assert stored.next_check_at == T0 + CAPACITY_RECHECK
    assert rooms.calls == []
    await write_heartbeat(redis, make_heartbeat())
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for) == (S.DISPATCHED, None)


async def test_workers_of_other_names_hold_nobody_up(
    database: Database, dispatcher: Dispatcher, redis: Redis
) -> None:
    row = await put_session(database)
    await write_heartbeat(redis, make_heartbeat(agent_name="billing", active_jobs=10))
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHED


async def test_a_registry_that_cannot_be_read_holds_nobody_up(
    database: Database, relay: Relay, rooms: FakeRooms, clock: FakeClock, free_port: int
) -> None:
    away = connect_redis(f"redis://127.0.0.1:{free_port}/0")
    row = await put_session(database)
    await make_dispatcher(database, away, relay, rooms, clock).dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHED
    await away.aclose()


async def test_an_answer_that_was_lost_does_not_make_a_second_agent(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms, clock: FakeClock
) -> None:
    row = await put_session(database)
    rooms.fails_next["create_room"] = unreachable(uncertain=True)
    rooms.after_effect.add("create_room")
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHING
    clock.forward(seconds=2)
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHED
    [made] = rooms.in_force[row.room_name]
    assert made.attributes["rollcall.attempt"] == "2"


async def test_a_wrong_key_fails_the_session_at_once(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    rooms.down = refused_key()
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.attempt) == (S.FAILED, "livekit_auth", 1)


def failures_counted() -> float:
    return REGISTRY.get_sample_value("dispatch_failures_total", {"cause": "livekit_auth"}) or 0.0


async def test_a_session_that_was_ended_during_the_call_is_not_counted_as_a_failure(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms
) -> None:
    row = await put_session(database)

    async def end() -> None:
        async with database.write() as db:
            found = await db.get(SessionRow, row.id)
            assert found is not None
            await advance(db, found, S.CANCELLED, event=SessionCancelled(reason="x"), now=T0)

    rooms.meanwhile["create_room"] = end
    rooms.fails_next["create_room"] = refused_key()
    before = failures_counted()
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.CANCELLED
    assert failures_counted() == before


@pytest.mark.parametrize("session_id", ["no-such-session", ""])
async def test_a_task_for_a_session_that_is_not_there_does_nothing(
    dispatcher: Dispatcher, rooms: FakeRooms, session_id: str
) -> None:
    await dispatcher.dispatch_session(session_id)
    assert rooms.calls == []
