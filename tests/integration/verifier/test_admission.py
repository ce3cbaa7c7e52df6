"""Waiting sessions go on in their order, each to its own slot, once they can be served."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import text

from services.dispatcher.repository import Repository
from services.verifier.admit import admission as admission_module
from services.verifier.admit.admission import (
    MOST_AT_ONCE,
    PROBE_INTERVAL,
    REQUEUE_AFTER,
    UNKNOWN_AFTER,
    Admission,
)
from shared.contracts.causes import Cause
from shared.contracts.keys import DISPATCH_TASK
from shared.contracts.sessions import SessionStatus
from shared.core.admission.slots import reserve
from shared.core.admission.wait_queue import place_in_line, waits_behind
from shared.core.sessions.tables import SessionRow
from shared.core.workers.registry import remove_worker
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from tests.integration.api_client import beat_for_ever
from tests.integration.conftest import Queued
from tests.integration.rows import event_types, get_session, put_session
from tests.unit.fake_rooms import FakeRooms, refused_key, unreachable
from tests.unit.making import T0, FakeClock, make_heartbeat

pytestmark = pytest.mark.sql

S = SessionStatus


@pytest.fixture
async def cut_off(
    database: Database, tasks: TaskSender, rooms: FakeRooms, clock: FakeClock, free_port: int
) -> AsyncIterator[Admission]:
    """An admission whose registry can't be read."""
    away = connect_redis(f"redis://127.0.0.1:{free_port}/0")
    yield Admission(database=database, redis=away, tasks=tasks, rooms=rooms, now=clock)
    await away.aclose()


async def wait_in(database: Database, cause: Cause = Cause.WORKERS_AT_CAPACITY, **row: Any) -> SessionRow:
    """A waiting session, as a dispatcher leaves it."""
    made = await put_session(database, **row)
    await Repository(database, retry_delay_s=1, now=lambda: T0).park(made, cause, {})
    return made


async def standing(database: Database, rows: list[SessionRow]) -> list[bool]:
    """Return for each session whether it still waits."""
    return [(await get_session(database, row.id)).claimed_until is not None for row in rows]


async def beat(redis: Redis, *, free: int, **changes: Any) -> None:
    await beat_for_ever(redis, make_heartbeat(active_jobs=10 - free, **changes))


async def test_the_oldest_go_on_and_as_many_as_there_are_slots(
    database: Database, admission: Admission, redis: Redis, queued: Queued
) -> None:
    rows = [await wait_in(database) for _ in range(5)]
    await beat(redis, free=2)
    assert await admission.advance() == 2
    assert await standing(database, rows) == [False, False, True, True, True]
    assert await queued() == {DISPATCH_TASK: [rows[0].id, rows[1].id]}


async def test_the_order_is_that_of_the_requests_and_not_that_of_the_waiting(
    database: Database, admission: Admission, redis: Redis
) -> None:
    made = [await put_session(database) for _ in range(3)]
    repository = Repository(database, retry_delay_s=1, now=lambda: T0)
    for row in reversed(made):
        await repository.park(row, Cause.WORKERS_AT_CAPACITY, {})
    await beat(redis, free=1)
    await admission.advance()
    assert await standing(database, made) == [False, True, True]


async def test_a_session_that_was_let_go_on_may_be_claimed_and_keeps_what_it_waited_for(
    database: Database, admission: Admission, redis: Redis, clock: FakeClock
) -> None:
    row = await wait_in(database)
    await beat(redis, free=1)
    await admission.advance()
    stored = await get_session(database, row.id)
    assert (stored.claimed_until, stored.next_check_at) == (None, T0 + REQUEUE_AFTER)
    assert (stored.status, stored.waiting_for) == (S.REQUESTED, "workers_at_capacity")
    wanted = await Repository(database, retry_delay_s=1, now=clock).find_undispatched(row.id)
    assert wanted is not None
    assert wanted.behind is None


async def test_nobody_goes_on_while_all_slots_are_taken(
    database: Database, admission: Admission, redis: Redis, queued: Queued
) -> None:
    rows = [await wait_in(database), await wait_in(database, Cause.WORKER_DRAINING)]
    await beat(redis, free=0)
    assert await admission.advance() == 0
    assert await standing(database, rows) == [True, True]
    assert await queued() == {}


async def test_a_slot_that_was_given_away_is_not_given_again_at_the_next_tick(
    database: Database, admission: Admission, redis: Redis
) -> None:
    rows = [await wait_in(database) for _ in range(3)]
    await beat(redis, free=1)
    assert [await admission.advance() for _ in range(3)] == [1, 0, 0]
    # The worker has taken the job, and another job of its has ended.
    await beat(redis, free=1, sessions=[rows[0].id])
    assert await admission.advance() == 1
    assert await standing(database, rows) == [False, False, True]


async def test_a_slot_that_is_promised_to_another_session_is_not_given_away(
    database: Database, admission: Admission, redis: Redis
) -> None:
    await wait_in(database)
    await beat(redis, free=1)
    await reserve(redis, "agent", ["another"], free=1, served=())
    assert await admission.advance() == 0


async def test_each_agent_name_has_a_line_of_its_own(
    database: Database, admission: Admission, redis: Redis
) -> None:
    stuck = [await wait_in(database, agent_name="stuck") for _ in range(MOST_AT_ONCE + 5)]
    behind = await wait_in(database, agent_name="free")
    await beat(redis, free=0, worker_id="w-1", agent_name="stuck")
    await beat(redis, free=1, worker_id="w-2", agent_name="free")
    assert await admission.advance() == 1
    assert await standing(database, [stuck[0], behind]) == [True, False]


async def test_a_session_whose_workers_have_all_gone_goes_on_to_find_its_cause(
    database: Database, admission: Admission, redis: Redis
) -> None:
    row = await wait_in(database)
    await beat(redis, free=0)
    assert await admission.advance() == 0
    await remove_worker(redis, "worker-1")
    assert await admission.advance() == 1
    assert await standing(database, [row]) == [False]


async def test_a_registry_that_cannot_be_read_is_not_taken_for_a_full_one_for_long(
    database: Database, cut_off: Admission, clock: FakeClock
) -> None:
    rows = [await wait_in(database) for _ in range(MOST_AT_ONCE + 1)]
    assert await cut_off.advance() == 0
    clock.time += UNKNOWN_AFTER - timedelta(microseconds=1)
    assert await cut_off.advance() == 0
    clock.forward(seconds=0.01)
    assert [await cut_off.advance() for _ in range(3)] == [MOST_AT_ONCE, 1, 0]
    assert await standing(database, rows) == [False] * len(rows)


async def test_a_registry_that_could_be_read_meanwhile_was_not_away_for_long(
    database: Database, admission: Admission, redis: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Redis) -> None:
        raise ConnectionError

    await wait_in(database)
    await beat(redis, free=0)
    for _ in range(3):
        monkeypatch.setattr(admission_module, "read_fleet", fails)
        assert await admission.advance() == 0
        clock.time += UNKNOWN_AFTER * 0.9
        monkeypatch.undo()
        assert await admission.advance() == 0
        clock.time += UNKNOWN_AFTER * 0.5


async def test_who_waits_for_livekit_goes_on_when_it_answers(
    database: Database, admission: Admission, rooms: FakeRooms, clock: FakeClock, queued: Queued
) -> None:
    rows = [await wait_in(database, Cause.LIVEKIT_UNREACHABLE) for _ in range(2)]
    rooms.down = unreachable()
    assert await admission.advance() == 0
    rooms.down = None
    clock.time += PROBE_INTERVAL
    assert await admission.advance() == 2
    assert await standing(database, rows) == [False, False]
    assert await queued() == {DISPATCH_TASK: [row.id for row in rows]}


async def test_livekit_is_asked_once_a_second_and_only_if_somebody_waits_for_it(
    database: Database, admission: Admission, redis: Redis, rooms: FakeRooms, clock: FakeClock
) -> None:
    await wait_in(database)
    await beat(redis, free=0)
    await admission.advance()
    assert rooms.calls == []
    await wait_in(database, Cause.LIVEKIT_UNREACHABLE, agent_name="other")
    rooms.down = unreachable()
    for _ in range(8):
        await admission.advance()
        clock.forward(seconds=0.25)
    assert rooms.calls == ["room_exists"] * 2


async def test_a_livekit_that_refuses_the_key_has_answered(
    database: Database, admission: Admission, rooms: FakeRooms
) -> None:
    await wait_in(database, Cause.LIVEKIT_UNREACHABLE)
    rooms.down = refused_key()
    assert await admission.advance() == 1


async def test_after_an_outage_the_oldest_go_first_and_not_all_at_once(
    database: Database, admission: Admission
) -> None:
    rows = [await wait_in(database, Cause.LIVEKIT_UNREACHABLE) for _ in range(MOST_AT_ONCE + 3)]
    assert await admission.advance() == MOST_AT_ONCE
    assert await standing(database, rows) == [False] * MOST_AT_ONCE + [True] * 3
    assert await admission.advance() == 3


async def test_who_waited_for_livekit_goes_on_without_a_slot_too_but_takes_none_from_others(
    database: Database, admission: Admission, redis: Redis
) -> None:
    first = await wait_in(database)
    second = await wait_in(database, Cause.LIVEKIT_UNREACHABLE)
    third = await wait_in(database)
    await beat(redis, free=0)
    assert await admission.advance() == 1
    assert await standing(database, [first, second, third]) == [True, False, True]
    await beat(redis, free=1)
    assert await admission.advance() == 1
    assert await standing(database, [first, second, third]) == [False, False, True]


async def test_of_several_lines_the_oldest_go_first(database: Database, admission: Admission) -> None:
    names = ["b", "a"]
    rows = [
        await wait_in(database, Cause.LIVEKIT_UNREACHABLE, agent_name=names[number % 2])
        for number in range(MOST_AT_ONCE + 4)
    ]
    await admission.advance()
    assert await standing(database, rows) == [False] * MOST_AT_ONCE + [True] * 4


async def test_nobody_overtakes_a_session_that_waits_for_livekit(
    database: Database, admission: Admission, redis: Redis, rooms: FakeRooms
) -> None:
    first = await wait_in(database)
    rows = [first, await wait_in(database, Cause.LIVEKIT_UNREACHABLE), await wait_in(database)]
    await beat(redis, free=5)
    rooms.down = unreachable()
    assert await admission.advance() == 1
    assert await standing(database, rows) == [False, True, True]


async def test_who_does_not_wait_any_more_is_left_alone(
    database: Database, admission: Admission, redis: Redis, clock: FakeClock
) -> None:
    await beat(redis, free=5)
    waited: dict[str, Any] = {"waiting_for": Cause.WORKERS_AT_CAPACITY}
    until = T0 + timedelta(seconds=15)
    over = await put_session(database, status=S.CANCELLED, claimed_until=until, **waited)
    at_work = await put_session(database, status=S.DISPATCHED, claimed_until=until, **waited)
    gone_on = await put_session(database, **waited)
    assert await admission.advance() == 0
    for row in (over, at_work, gone_on):
        assert (await get_session(database, row.id)).version == row.version
    late = await wait_in(database)
    clock.time = late.deadline_at
    assert await admission.advance() == 0


async def test_a_session_that_is_ended_between_the_choice_and_the_admission_does_not_go_on(
    database: Database, admission: Admission, redis: Redis, queued: Queued
) -> None:
    row = await wait_in(database)
    await beat(redis, free=1)
    chosen = await admission.choose(T0)
    async with database.write() as db:
        found = await db.get_one(SessionRow, row.id)
        found.status = S.CANCELLED
    assert [one.session_id for one in chosen] == [row.id]
    assert await admission.let_go(chosen, T0) == []


async def test_of_two_lines_at_once_one_lets_a_session_go_on(
    database: Database, admission: Admission, redis: Redis
) -> None:
    await wait_in(database)
    await beat(redis, free=1)
    chosen = [await admission.choose(T0) for _ in range(2)]
    assert sorted([len(await admission.let_go(one, T0)) for one in chosen]) == [0, 1]


async def test_a_broker_that_is_away_leaves_the_admitted_to_the_sweep(
    database: Database, redis: Redis, rooms: FakeRooms, clock: FakeClock, free_port: int
) -> None:
    away = TaskSender(make_celery("cut-off", f"redis://127.0.0.1:{free_port}/0"))
    admission = Admission(database=database, redis=redis, tasks=away, rooms=rooms, now=clock)
    row = await wait_in(database)
    await beat(redis, free=1)
    assert await admission.advance() == 1
    assert (await get_session(database, row.id)).next_check_at == T0 + REQUEUE_AFTER
    away.close()


def waiting_now() -> float | None:
    return REGISTRY.get_sample_value("sessions_waiting", {"cause": "workers_at_capacity"})


async def test_the_line_is_told_as_a_number_and_is_gone_with_the_last_who_waits(
    database: Database, admission: Admission, redis: Redis
) -> None:
    for _ in range(3):
        await wait_in(database)
    await beat(redis, free=1)
    await admission.advance()
    assert waiting_now() == 3
    await admission.advance()
    assert waiting_now() == 2
    await beat(redis, free=9)
    await admission.advance()
    await admission.advance()
    assert waiting_now() is None


async def test_going_on_is_no_event(database: Database, admission: Admission, redis: Redis) -> None:
    row = await wait_in(database)
    await beat(redis, free=1)
    await admission.advance()
    assert await event_types(database, row.id) == ["session.requested.v1", "session.waiting.v1"]


async def test_a_look_at_the_line_reads_an_index_that_is_empty_where_nobody_waits(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    query = "EXPLAIN QUERY PLAN SELECT waiting_for, count(*) FROM session WHERE waiting_for IS NOT NULL "
    rest = "AND status IN ('requested', 'dispatching') AND claimed_until > '2026' GROUP BY waiting_for"
    async with database.read() as db:
        plan = [str(step) for step in await db.execute(text(query + rest))]
    assert any("ix_session_waiting" in step for step in plan)
    await database.close()


async def test_who_asked_first_goes_first_whatever_his_id(database: Database) -> None:
    """A reservation's id is older than its request."""
    reserved_long_ago = await wait_in(database, requested_at=T0 + timedelta(seconds=1))
    asked_first = await wait_in(database, requested_at=T0)
    assert reserved_long_ago.id < asked_first.id
    async with database.read() as db:
        rows = [await db.get_one(SessionRow, row.id) for row in (asked_first, reserved_long_ago)]
        assert [await place_in_line(db, row) for row in rows] == [1, 2]
        assert await waits_behind(db, await db.get_one(SessionRow, asked_first.id), T0) is None
