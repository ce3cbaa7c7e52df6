"""One task of the dispatcher, on a real database and a real Redis, with a fake LiveKit."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.dispatcher.dispatch import Dispatcher
from shared.contracts.causes import Cause
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import SessionCancelled
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import add_session, advance
from shared.core.sessions.tables import SessionRow
from shared.core.workers.fence import set_fence
from shared.core.workers.history import read_history
from shared.platform import breaker as breaker_module
from shared.platform.database.database import Database
from shared.platform.livekit import client as livekit_module
from shared.platform.livekit.client import LiveKitError
from shared.platform.redis.client import connect_redis
from tests.integration.dispatcher.dispatching import make_dispatcher
from tests.integration.rows import (
    REQUESTED,
    a_turn,
    event_types,
    get_attempts,
    get_session,
    last_event,
    put_session,
    store_turns,
)
from tests.support import bad_server as bad
from tests.support.bad_server import bad_server
from tests.unit.fake_rooms import FakeRooms, refused_key, unreachable
from tests.unit.making import T0, FakeClock, make_attempt, make_session
from tests.unit.platform.test_livekit_calls import connect

S = SessionStatus


async def put_lost(database: Database) -> SessionRow:
    """Write a session whose first agent is lost."""
    row = make_session(status=S.DISPATCHING, attempt=1, revivals=1)
    async with database.write() as db:
        await add_session(db, row, event=REQUESTED)
        db.add(make_attempt(row, outcome="lost"))
    return row


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


async def test_an_agent_that_takes_over_finds_the_conversation_so_far(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    row = await put_lost(database)
    await store_turns(database, [a_turn(row.id, seq) for seq in (1, 2)])
    found: list[PastTurn] = []

    async def look() -> None:
        found.extend(await read_history(redis, row.id) or [])

    rooms.meanwhile["create_room"] = look  # it is there before the agent can be
    await dispatcher.dispatch_session(row.id)
    assert [turn.text for turn in found] == ["This is turn 1.", "This is turn 2."]


async def test_a_first_agent_is_handed_no_conversation(
    database: Database, dispatcher: Dispatcher, redis: Redis
) -> None:
    row = await put_session(database)
    await dispatcher.dispatch_session(row.id)
    assert await read_history(redis, row.id) is None


async def test_without_redis_an_agent_takes_over_all_the_same(
    database: Database, relay: Relay, rooms: FakeRooms, clock: FakeClock, free_port: int
) -> None:
    away = connect_redis(f"redis://127.0.0.1:{free_port}/0")
    row = await put_lost(database)
    await store_turns(database, [a_turn(row.id)])
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


@pytest.mark.parametrize("behaviour", [*bad.SILENT, bad.HTML_404, bad.NO_PROTOBUF])
async def test_a_livekit_that_never_answers_holds_no_task(
    database: Database,
    redis: Redis,
    relay: Relay,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
) -> None:
    monkeypatch.setattr(livekit_module, "CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 3600)
    row = await put_session(database)
    async with bad_server(behaviour) as server:
        livekit = connect(server.url())
        dispatcher = make_dispatcher(database, redis, relay, livekit, clock)
        async with asyncio.timeout(60):
            await dispatcher.dispatch_session(row.id)
            await dispatcher.dispatch_session((await put_session(database)).id)  # not asked any more
        await livekit.close()
    assert server.connections == 1
    assert (await last_event(database, row.id))["cause"] == "livekit_unreachable"
    [attempt] = await get_attempts(database, row.id)
    assert attempt.evidence is not None
    assert server.url() in attempt.evidence["error"]


@pytest.mark.parametrize("loses", ["its answer", "the call"])
@pytest.mark.parametrize("took_effect", ["before the other looks", "after the other has made its own"])
async def test_a_dispatcher_that_is_held_up_in_a_call_leaves_one_dispatch_that_of_the_attempt(
    database: Database,
    dispatcher: Dispatcher,
    rooms: FakeRooms,
    clock: FakeClock,
    took_effect: str,
    loses: str,
) -> None:
    row = await put_session(database)
    rooms.open_room(row.room_name)  # the caller was quicker

    async def other_takes_over() -> None:
        clock.forward(seconds=6)
        await dispatcher.dispatch_session(row.id)
        if loses == "the call":
            rooms.fails_last["create_dispatch"] = unreachable(uncertain=True)

    if took_effect == "before the other looks":
        rooms.afterwards["create_dispatch"] = other_takes_over
    else:
        rooms.meanwhile["create_dispatch"] = other_takes_over
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    [attempt] = await get_attempts(database, row.id)
    assert [one.id for one in rooms.in_force[row.room_name]] == [attempt.dispatch_id]
    assert (stored.status, attempt.outcome) == (S.DISPATCHED, "accepted")
    assert (await event_types(database, row.id)).count("dispatch.accepted.v1") == 1


async def test_a_dispatcher_that_is_held_up_leaves_the_later_attempt_alone(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms, clock: FakeClock, redis: Redis
) -> None:
    row = await put_session(database)
    rooms.open_room(row.room_name)

    async def others_go_on() -> None:
        for failure in (unreachable(), None):
            clock.forward(seconds=6)
            if failure is not None:
                rooms.fails_next["dispatches"] = failure
            await dispatcher.dispatch_session(row.id)

    rooms.meanwhile["dispatches"] = others_go_on
    await dispatcher.dispatch_session(row.id)
    first, second = await get_attempts(database, row.id)
    [left] = rooms.in_force[row.room_name]
    assert (first.dispatch_id, second.dispatch_id) == (None, left.id)
    assert left.attributes["rollcall.attempt"] == "2"


async def test_no_fence_is_lowered_or_opened_again(redis: Redis) -> None:
    for value in (2, 1, FENCE_CLOSED, 3):
        await set_fence(redis, "a-session", value)
    assert await redis.get(fence_key(SessionId("a-session"))) == FENCE_CLOSED
    for value in (1, 3, 2):
        await set_fence(redis, "another", value)
    assert await redis.get(fence_key(SessionId("another"))) == "3"


async def test_a_wrong_key_fails_the_session_at_once(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms
) -> None:
    row = await put_session(database)
    rooms.down = LiveKitError(
        "401",
        cause=Cause.LIVEKIT_AUTH,
        retryable=False,
        uncertain=False,
        evidence={"clock_skew_s": 90},
    )
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.attempt) == (S.FAILED, "livekit_auth", 1)
    assert stored.evidence == {"error": "401", "clock_skew_s": 90}


def failures_counted() -> float:
    return (
        REGISTRY.get_sample_value("session_failures_total", {"cause": "livekit_auth", "agent_name": "agent"})
        or 0.0
    )


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
