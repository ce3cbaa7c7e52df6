"""The sweep enqueues lost sessions and fails overdue ones, in one process at a time."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from services.verifier.admit.admission import Admission
from services.verifier.close.collect import Collector
from services.verifier.sweep.sweep import GIVE_UP_AFTER, RECEIPTS_KEPT, REQUEUE_AFTER, Sweep
from shared.contracts.causes import Cause
from shared.contracts.events import SessionWaiting
from shared.contracts.keys import CLOSE_TASK, DISPATCH_TASK, EVENTS_STREAM, VERIFY_TASK
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.core.livekit.tables import WebhookReceiptRow
from shared.core.sessions.outbox import OVERDUE, Relay
from shared.core.sessions.repository import record
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from tests.integration.background import in_background
from tests.integration.conftest import Queued
from tests.integration.rows import count, get_attempts, get_session, last_event, put_session
from tests.integration.verifier.verifier_bench import Bench
from tests.support.counted import reads
from tests.support.refusals import refused
from tests.support.sessions import until
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

S = SessionStatus
MakeSweep = Callable[..., Sweep]


@pytest.fixture
def make_sweep(
    database: Database, redis: Redis, tasks: TaskSender, relay: Relay, clock: FakeClock
) -> MakeSweep:
    def make(*, redis: Redis = redis, tasks: TaskSender = tasks, relay: Relay = relay) -> Sweep:
        bench = Bench(database, redis, relay, clock)
        return Sweep(
            database=database,
            relay=relay,
            tasks=tasks,
            repository=bench.repository,
            admission=Admission(database=database, redis=redis, tasks=tasks, rooms=bench.rooms, now=clock),
            collector=Collector(database=database, rooms=bench.rooms, now=clock),
            holder="me",
            now=clock,
        )

    return make


@pytest.fixture
def sweep(make_sweep: MakeSweep) -> Sweep:
    return make_sweep()


@pytest.fixture
async def cut_off(make_sweep: MakeSweep, database: Database, free_port: int) -> AsyncIterator[Sweep]:
    """A sweep whose Redis and broker are down."""
    url = f"redis://127.0.0.1:{free_port}/0"
    redis = connect_redis(url)
    tasks = TaskSender(make_celery("cut-off", url))
    relay = Relay(database=database, redis=redis, tasks=tasks)
    yield make_sweep(redis=redis, tasks=tasks, relay=relay)
    await redis.aclose()
    tasks.close()


@pytest.mark.parametrize(
    ("status", "task"),
    [
        (S.REQUESTED, DISPATCH_TASK),
        (S.DISPATCHING, DISPATCH_TASK),
        (S.DISPATCHED, VERIFY_TASK),
        (S.ACTIVE, VERIFY_TASK),
        *((status, CLOSE_TASK) for status in sorted(TERMINAL)),
    ],
)
async def test_a_due_session_gets_the_task_of_its_status(
    database: Database, sweep: Sweep, queued: Queued, status: SessionStatus, task: str
) -> None:
    row = await put_session(database, status=status, next_check_at=T0)
    await sweep.enqueue_due(T0)
    assert await queued() == {task: [row.id]}


async def test_a_session_that_was_put_back_is_left_in_peace_for_a_while(
    database: Database, sweep: Sweep, queued: Queued
) -> None:
    row = await put_session(database, next_check_at=T0)
    await sweep.enqueue_due(T0)
    await sweep.enqueue_due(T0 + REQUEUE_AFTER - timedelta(milliseconds=1))
    assert await queued() == {DISPATCH_TASK: [row.id]}
    await sweep.enqueue_due(T0 + REQUEUE_AFTER)
    assert await queued() == {DISPATCH_TASK: [row.id, row.id]}
    assert (await get_session(database, row.id)).version == row.version


async def test_what_is_not_due_or_claimed_or_done_is_not_put_back(
    database: Database, sweep: Sweep, queued: Queued
) -> None:
    soon = T0 + timedelta(milliseconds=1)
    await put_session(database, next_check_at=soon)
    await put_session(database, next_check_at=T0, claimed_until=soon)
    await put_session(database, status=S.ENDED, next_check_at=None)
    await sweep.enqueue_due(T0)
    assert await queued() == {}


async def test_a_claim_that_ran_out_is_put_back(database: Database, sweep: Sweep, queued: Queued) -> None:
    row = await put_session(database, status=S.DISPATCHED, next_check_at=T0, claimed_until=T0)
    await sweep.enqueue_due(T0)
    assert await queued() == {VERIFY_TASK: [row.id]}


async def test_a_broker_that_is_down_leaves_the_session_due(
    database: Database, cut_off: Sweep, sweep: Sweep, queued: Queued
) -> None:
    row = await put_session(database, next_check_at=T0)
    with pytest.raises(Exception, match=r"refused|Error 111"):
        await cut_off.enqueue_due(T0)
    assert (await get_session(database, row.id)).next_check_at == T0
    await sweep.enqueue_due(T0)
    assert await queued() == {DISPATCH_TASK: [row.id]}


async def test_an_overdue_session_is_given_up_even_without_redis(
    database: Database, cut_off: Sweep, clock: FakeClock
) -> None:
    row = await put_session(database, next_check_at=T0)
    clock.time = row.deadline_at
    with pytest.raises(Exception, match=r"refused|Error 111"):
        await cut_off.sweep_once()
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause) == (S.FAILED, "queue_stalled")
    assert stored.evidence == {"status": "requested", "waited_s": 15.0}
    assert (await last_event(database, row.id))["type"] == "session.failed.v1"


async def test_giving_up_twice_changes_nothing_the_second_time(
    database: Database, sweep: Sweep, clock: FakeClock
) -> None:
    row = await put_session(database, next_check_at=T0)
    clock.time = row.deadline_at
    await sweep.give_up_overdue(clock())
    once = await get_session(database, row.id)
    await sweep.give_up_overdue(clock())
    assert await get_session(database, row.id) == once


async def test_a_session_is_not_given_up_before_its_time(
    database: Database, sweep: Sweep, clock: FakeClock
) -> None:
    row = await put_session(database, next_check_at=T0)
    await sweep.give_up_overdue(row.deadline_at - timedelta(microseconds=1))
    assert (await get_session(database, row.id)).status == S.REQUESTED


async def test_the_verifier_is_given_its_time_before_the_sweep_rules_in_its_place(
    database: Database, sweep: Sweep
) -> None:
    row = await put_session(database, status=S.DISPATCHED, next_check_at=T0, attempt={"outcome": "accepted"})
    await sweep.give_up_overdue(row.deadline_at)
    assert (await get_session(database, row.id)).status == S.DISPATCHED
    await sweep.give_up_overdue(row.deadline_at + GIVE_UP_AFTER)
    assert (await get_session(database, row.id)).status == S.FAILED


async def test_an_overdue_session_that_somebody_works_on_is_left_to_him(
    database: Database, sweep: Sweep
) -> None:
    row = await put_session(database, next_check_at=T0, claimed_until=T0 + timedelta(minutes=1))
    await sweep.give_up_overdue(row.deadline_at)
    assert (await get_session(database, row.id)).status == S.REQUESTED


@pytest.mark.parametrize("status", [S.ACTIVE, *sorted(TERMINAL)])
async def test_a_session_past_joining_is_never_overdue(
    database: Database, sweep: Sweep, status: SessionStatus
) -> None:
    row = await put_session(database, status=status, next_check_at=T0)
    await sweep.give_up_overdue(row.deadline_at + timedelta(days=1))
    assert (await get_session(database, row.id)).status == status


async def test_what_an_overdue_session_waited_for_is_its_cause(database: Database, sweep: Sweep) -> None:
    row = await put_session(database, next_check_at=T0, waiting_for=Cause.WORKERS_AT_CAPACITY)
    event = SessionWaiting(cause=Cause.WORKERS_AT_CAPACITY, place=1, evidence={"workers": ["w-1"]})
    async with database.write() as db:
        await record(db, row, event, now=T0)
    await sweep.give_up_overdue(row.deadline_at)
    stored = await get_session(database, row.id)
    assert (stored.cause, stored.evidence) == (
        "workers_at_capacity",
        {"agent_name": "agent", "waited_s": 0.0, "workers": ["w-1"]},
    )


async def test_the_cause_of_the_last_attempt_is_the_cause_of_an_overdue_session(
    database: Database, sweep: Sweep
) -> None:
    row = await put_session(
        database,
        status=S.DISPATCHING,
        next_check_at=T0,
        attempt={"outcome": "error", "cause": Cause.LIVEKIT_UNREACHABLE, "evidence": {"error": "x"}},
    )
    await sweep.give_up_overdue(row.deadline_at)
    stored = await get_session(database, row.id)
    assert (stored.cause, stored.evidence) == ("livekit_unreachable", {"error": "x"})
    assert [attempt.outcome for attempt in await get_attempts(database, row.id)] == ["failed"]


async def test_old_webhook_receipts_are_forgotten_and_young_ones_kept(
    database: Database, sweep: Sweep, clock: FakeClock
) -> None:
    async with database.write() as db:
        db.add(WebhookReceiptRow(id="old", event="x", received_at=T0 - RECEIPTS_KEPT - timedelta(seconds=1)))
        db.add(WebhookReceiptRow(id="young", event="x", received_at=T0 - RECEIPTS_KEPT))
    await sweep.sweep_once()
    assert await count(database, "livekit_webhook_receipt") == 1


async def test_a_running_sweep_publishes_what_a_crash_left_unsent_and_enqueues_what_is_due(
    database: Database, sweep: Sweep, redis: Redis, queued: Queued, clock: FakeClock
) -> None:
    clock.time = utc_now()
    row = await put_session(
        database,
        requested_at=utc_now() - OVERDUE - timedelta(seconds=1),
        deadline_at=utc_now() + timedelta(minutes=5),
        next_check_at=utc_now() + timedelta(minutes=5),
    )

    async def published() -> bool:
        return await redis.xlen(EVENTS_STREAM) == 1

    async with in_background(sweep.run()):
        await until(published, what="the event is published", timeout_s=20)
        assert await queued() == {DISPATCH_TASK: [row.id]}


async def test_a_session_that_the_database_refuses_holds_up_no_other(
    database: Database, sweep: Sweep, queued: Queued
) -> None:
    overdue: dict[str, Any] = {"deadline_at": T0 - timedelta(seconds=60), "next_check_at": T0}
    rows = [await put_session(database, status=S.REQUESTED, **overdue) for _ in range(3)]
    due = await put_session(database, status=S.ACTIVE, next_check_at=T0)
    async with refused(database, "session", "UPDATE", f"NEW.id = '{rows[1].id}'"):
        await sweep.sweep_once()
        statuses = [(await get_session(database, row.id)).status for row in rows]
        assert statuses == [S.FAILED, S.REQUESTED, S.FAILED]
        assert due.id in (await queued())[VERIFY_TASK]
    await sweep.sweep_once()
    assert (await get_session(database, rows[1].id)).status == S.FAILED


async def test_with_no_session_open_the_sweep_asks_the_database_once_a_second(
    database: Database, sweep: Sweep, clock: FakeClock
) -> None:
    await put_session(database, status=S.ENDED, next_check_at=None)
    await sweep.sweep_if_needed()
    before = reads()
    await sweep.sweep_if_needed()
    assert reads() == before
    clock.forward(seconds=1)
    await sweep.sweep_if_needed()
    assert reads() > before


async def test_with_a_session_open_each_round_asks_the_database(database: Database, sweep: Sweep) -> None:
    await put_session(database, status=S.ACTIVE, next_check_at=T0 + timedelta(minutes=1))
    await sweep.sweep_if_needed()
    before = reads()
    await sweep.sweep_if_needed()
    assert reads() > before
