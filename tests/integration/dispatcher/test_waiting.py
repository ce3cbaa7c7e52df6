"""Sessions wait for a free slot and for LiveKit, in their order, and for nothing else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from services.dispatcher.dispatch import Dispatcher
from services.verifier.admit.admission import Admission
from shared.contracts.keys import DISPATCH_TASK
from shared.contracts.sessions import SessionStatus
from shared.core.admission import slots
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.platform.celery.tasks import TASK_QUEUES, TaskSender
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from tests.integration.api_client import beat_for_ever
from tests.integration.conftest import Queued
from tests.integration.dispatcher.dispatching import make_dispatcher
from tests.integration.rows import (
    event_types,
    get_session,
    last_event,
    put_session,
)
from tests.unit.fake_rooms import FakeRooms, unreachable
from tests.unit.making import FakeClock, make_heartbeat

S = SessionStatus


@pytest.fixture
def hasty(database: Database, redis: Redis, relay: Relay, rooms: FakeRooms, clock: FakeClock) -> Dispatcher:
    """A dispatcher that does not wait for workers."""
    return make_dispatcher(database, redis, relay, rooms, clock, wait_for_workers=False)


async def statuses(database: Database, rows: Sequence[SessionRow]) -> list[str]:
    return [(await get_session(database, row.id)).status for row in rows]


@pytest.mark.parametrize(
    ("worker", "cause"),
    [({"active_jobs": 10}, "workers_at_capacity"), ({"draining": True}, "worker_draining")],
)
async def test_without_a_free_worker_the_session_waits_and_says_why(
    database: Database,
    dispatcher: Dispatcher,
    redis: Redis,
    rooms: FakeRooms,
    worker: dict[str, Any],
    cause: str,
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(**worker))
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for, stored.attempt) == (S.REQUESTED, cause, 0)
    assert stored.claimed_until == stored.next_check_at == stored.deadline_at
    assert rooms.calls == []
    event = await last_event(database, row.id)
    assert (event["type"], event["cause"], event["place"]) == ("session.waiting.v1", cause, 1)
    assert event["evidence"] == {"workers": ["worker-1"]}


async def test_a_session_that_waits_is_dispatched_when_there_is_a_slot_and_its_wait_was_one_event(
    database: Database, dispatcher: Dispatcher, redis: Redis, admission: Admission
) -> None:
    row = await put_session(database)
    for active_jobs in (10, 10, 9):
        await beat_for_ever(redis, make_heartbeat(active_jobs=active_jobs))
        await admission.advance()
        await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for, stored.attempt) == (S.DISPATCHED, None, 1)
    assert await event_types(database, row.id) == [
        "session.requested.v1",
        "session.waiting.v1",
        "dispatch.started.v1",
        "dispatch.accepted.v1",
    ]


async def test_a_session_whose_slot_was_taken_from_under_it_waits_on_without_another_event(
    database: Database, dispatcher: Dispatcher, redis: Redis, admission: Admission
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(active_jobs=10))
    await dispatcher.dispatch_session(row.id)
    await beat_for_ever(redis, make_heartbeat(active_jobs=9))
    assert await admission.advance() == 1
    await beat_for_ever(redis, make_heartbeat(active_jobs=10))
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.waiting_for, stored.claimed_until) == ("workers_at_capacity", stored.deadline_at)
    assert (await event_types(database, row.id)).count("session.waiting.v1") == 1


@pytest.mark.sql
async def test_of_many_sessions_dispatched_at_once_as_many_go_as_there_are_slots(
    database_url: str,
    database: Database,
    redis_url: str,
    redis: Redis,
    tasks: TaskSender,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "PROMISE_MS", 300_000)  # no promise ends before all have asked
    await beat_for_ever(redis, make_heartbeat(active_jobs=4))
    rows = [await put_session(database) for _ in range(24)]
    rooms = FakeRooms()
    others = [(Database(database_url), connect_redis(redis_url)) for _ in range(4)]
    dispatchers = [
        make_dispatcher(db, client, Relay(database=db, redis=client, tasks=tasks), rooms, clock)
        for db, client in others
    ]
    work = [
        dispatchers[number % len(dispatchers)].dispatch_session(row.id) for number, row in enumerate(rows)
    ]
    await asyncio.gather(*work)
    assert (await statuses(database, rows)).count(S.DISPATCHED) == 6
    waiting = [row for row in rows if (await get_session(database, row.id)).waiting_for is not None]
    assert len(waiting) == 18
    for db, client in others:
        await db.close()
        await client.aclose()


async def test_a_burst_is_served_in_its_order_as_slots_get_free(
    database: Database,
    dispatcher: Dispatcher,
    redis: Redis,
    admission: Admission,
    rooms: FakeRooms,
    queued: Queued,
) -> None:
    await beat_for_ever(redis, make_heartbeat(active_jobs=9))
    rows = [await put_session(database) for _ in range(5)]
    for row in rows:
        await dispatcher.dispatch_session(row.id)
    order = [row.id for row in rows if (await get_session(database, row.id)).status == S.DISPATCHED]
    for _ in rows[1:]:
        # The newest has its slot by now, and one more has ended.
        await beat_for_ever(redis, make_heartbeat(active_jobs=9, sessions=order))
        newcomer = await put_session(database)
        await dispatcher.dispatch_session(newcomer.id)
        assert (await get_session(database, newcomer.id)).status == S.REQUESTED
        await admission.advance()
        [admitted] = (await queued())[DISPATCH_TASK]
        await redis.delete(TASK_QUEUES[DISPATCH_TASK])
        await dispatcher.dispatch_session(admitted)
        order.append(admitted)
    assert order == [row.id for row in rows]
    assert await statuses(database, rows) == [S.DISPATCHED] * 5


async def test_a_new_session_does_not_overtake_one_that_waits_although_a_slot_is_free(
    database: Database, dispatcher: Dispatcher, redis: Redis, admission: Admission
) -> None:
    older, newer = await put_session(database), await put_session(database)
    await beat_for_ever(redis, make_heartbeat(active_jobs=10))
    await dispatcher.dispatch_session(older.id)
    await beat_for_ever(redis, make_heartbeat(active_jobs=9))
    await dispatcher.dispatch_session(newer.id)
    event = await last_event(database, newer.id)
    assert (event["cause"], event["place"]) == ("workers_at_capacity", 2)
    await admission.advance()
    for row in (newer, older):
        await dispatcher.dispatch_session(row.id)
    assert await statuses(database, [older, newer]) == [S.DISPATCHED, S.REQUESTED]


async def test_a_session_that_a_worker_serves_already_needs_no_further_slot(
    database: Database, dispatcher: Dispatcher, redis: Redis
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(active_jobs=10, sessions=[row.id]))
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHED


async def test_an_attempt_that_a_dead_dispatcher_has_begun_needs_no_slot_and_no_place_in_line(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    older = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(active_jobs=10))
    await dispatcher.dispatch_session(older.id)
    row = await put_session(database, status=S.DISPATCHING, attempt={"number": 1})
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).attempt = 1
    await dispatcher.dispatch_session(row.id)
    assert await statuses(database, [older, row]) == [S.REQUESTED, S.DISPATCHED]


async def test_a_dispatch_that_failed_gives_its_slot_back(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    await beat_for_ever(redis, make_heartbeat(active_jobs=9))
    first, second = await put_session(database), await put_session(database)
    rooms.fails_next["create_room"] = unreachable()
    await dispatcher.dispatch_session(first.id)
    await dispatcher.dispatch_session(second.id)
    assert await statuses(database, [first, second]) == [S.DISPATCHING, S.DISPATCHED]


async def test_while_livekit_is_known_to_be_away_a_session_waits_and_uses_up_no_attempt(
    database: Database, dispatcher: Dispatcher, rooms: FakeRooms, admission: Admission
) -> None:
    row = await put_session(database)
    rooms.known_down = True
    await dispatcher.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for, stored.attempt) == (S.REQUESTED, "livekit_unreachable", 0)
    assert stored.claimed_until == stored.deadline_at
    assert rooms.calls == []
    rooms.known_down = False
    await admission.advance()
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).status == S.DISPATCHED


async def test_who_waited_for_livekit_and_finds_no_slot_waits_for_one_and_says_so(
    database: Database, dispatcher: Dispatcher, redis: Redis, rooms: FakeRooms, admission: Admission
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(active_jobs=10))
    rooms.known_down = True
    await dispatcher.dispatch_session(row.id)
    rooms.known_down = False
    await admission.advance()
    await dispatcher.dispatch_session(row.id)
    assert (await get_session(database, row.id)).waiting_for == "workers_at_capacity"
    assert (await event_types(database, row.id)).count("session.waiting.v1") == 2


@pytest.mark.parametrize(
    ("workers", "cause", "evidence"),
    [
        ([], "no_worker_registered", {"agent_name": "agent"}),
        (
            [{"agent_name": "agents"}, {"worker_id": "w-2", "agent_name": "x"}],
            "agent_name_mismatch",
            {"agent_name": "agent", "names_seen": ["agents", "x"], "nearest": "agents"},
        ),
        ([{"active_jobs": 10}], "workers_at_capacity", {"workers": ["worker-1"]}),
        ([{"draining": True}], "worker_draining", {"workers": ["worker-1"]}),
    ],
)
async def test_with_waiting_switched_off_a_session_without_a_worker_fails_at_once_with_the_cause(
    database: Database,
    hasty: Dispatcher,
    redis: Redis,
    rooms: FakeRooms,
    workers: list[dict[str, Any]],
    cause: str,
    evidence: dict[str, Any],
) -> None:
    row = await put_session(database)
    for worker in workers:
        await beat_for_ever(redis, make_heartbeat(**worker))
    await hasty.dispatch_session(row.id)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.evidence) == (S.FAILED, cause, evidence)
    assert rooms.calls == []
    event = await last_event(database, row.id)
    assert (event["type"], event["cause"]) == ("session.failed.v1", cause)


async def test_with_waiting_switched_off_a_free_worker_is_used_and_livekit_is_waited_for(
    database: Database, hasty: Dispatcher, redis: Redis, rooms: FakeRooms
) -> None:
    first, second = await put_session(database), await put_session(database)
    await beat_for_ever(redis, make_heartbeat())
    await hasty.dispatch_session(first.id)
    rooms.known_down = True
    await hasty.dispatch_session(second.id)
    assert await statuses(database, [first, second]) == [S.DISPATCHED, S.REQUESTED]


async def test_workers_of_other_names_hold_nobody_up(
    database: Database, dispatcher: Dispatcher, redis: Redis
) -> None:
    row = await put_session(database)
    await beat_for_ever(redis, make_heartbeat(agent_name="billing", active_jobs=10))
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
