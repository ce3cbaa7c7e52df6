"""Events go to the right endpoints, and none is skipped."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import update

from shared.contracts.events import AgentReady, Severity
from shared.contracts.keys import NEWS_CHANNEL
from shared.core.sessions.repository import record
from shared.core.sessions.tables import EventRow
from shared.core.webhooks.tables import WebhookCursorRow, WebhookEndpointRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.hints import give_hint
from tests.integration.background import in_background
from tests.integration.rows import get_events
from tests.integration.webhooks.webhook_bench import STEP, WebhookBench, webhook_bench
from tests.stack_fixtures.waiting import eventually
from tests.support.receiver import Receiver
from tests.support.refusals import refused
from tests.unit.making import FakeClock

pytestmark = pytest.mark.sql

NOWHERE = "http://127.0.0.1:9/"  # nothing is sent here


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(utc_now())


@pytest.fixture
async def hooks(database: Database, redis: Redis, clock: FakeClock) -> AsyncIterator[WebhookBench]:
    async with webhook_bench(database, redis, clock) as made:
        yield made


async def collected(hooks: WebhookBench, endpoint: WebhookEndpointRow) -> list[str]:
    return [delivery.event_type for delivery in await hooks.deliveries(endpoint)]


async def cursor(hooks: WebhookBench) -> WebhookCursorRow | None:
    async with hooks.database.read() as db:
        return await db.get(WebhookCursorRow, "session_event")


async def test_each_endpoint_gets_what_it_asks_for_of_its_own_project(hooks: WebhookBench) -> None:
    everything = await hooks.put_endpoint(NOWHERE)
    dispatches = await hooks.put_endpoint(NOWHERE, events=["dispatch.*", "session.failed.v1"])
    loud = await hooks.put_endpoint(NOWHERE, min_severity=Severity.WARNING)
    disabled = await hooks.put_endpoint(NOWHERE, enabled=False)
    theirs = await hooks.put_endpoint(NOWHERE, project="other")
    await hooks.put_events(await hooks.put_session(), 1)
    other = await hooks.put_session(project="other")
    assert await hooks.collector.scan() == 4
    assert await collected(hooks, everything) == ["session.requested.v1", STEP.type]
    assert await collected(hooks, dispatches) == [STEP.type]
    assert await collected(hooks, loud) == await collected(hooks, disabled) == []
    assert [d.session_id for d in await hooks.deliveries(theirs)] == [other.id]
    assert await hooks.collector.scan() == 0


async def test_an_endpoint_gets_nothing_from_before_its_time(hooks: WebhookBench, clock: FakeClock) -> None:
    session = await hooks.put_session()
    clock.forward(seconds=1)
    endpoint = await hooks.put_endpoint(NOWHERE, collects_from=clock())
    await hooks.put_events(session, 1)
    assert await hooks.collector.scan() == 1
    assert await collected(hooks, endpoint) == [STEP.type]


async def test_one_that_is_registered_late_gets_what_came_after_it(hooks: WebhookBench) -> None:
    await hooks.put_endpoint(NOWHERE, events=["agent.*"])
    session = await hooks.put_session()
    await hooks.collector.scan()
    late = await hooks.put_endpoint(NOWHERE)  # committed after its first event had been looked at
    await hooks.put_events(session, 1)
    await hooks.collector.scan()
    assert await collected(hooks, late) == ["session.requested.v1", STEP.type]


async def test_a_hint_is_enough_and_brings_all_of_its_session(hooks: WebhookBench, redis: Redis) -> None:
    endpoint = await hooks.put_endpoint(NOWHERE)
    async with in_background(hooks.collector.listen()), in_background(hooks.collector.run()):
        await eventually(lambda: bool(hooks.collector._endpoints))
        session = await hooks.put_session()
        # Written by a host whose clock is an hour slow: a scan would never come by there again.
        async with hooks.database.write() as db:
            await db.execute(update(EventRow).values(id="01000000-0000-7000-8000-000000000001"))

        async def there() -> bool:
            await give_hint(redis, session.id, channel=NEWS_CHANNEL)
            return await collected(hooks, endpoint) == ["session.requested.v1"]

        await eventually(there)


async def test_an_event_that_is_committed_late_is_not_passed_over(
    postgres_url: str, redis: Redis, clock: FakeClock
) -> None:
    database = Database(postgres_url)  # SQLite has one writer at a time
    async with webhook_bench(database, redis, clock) as hooks:
        endpoint = await hooks.put_endpoint(NOWHERE)
        slow, quick = await hooks.put_session(), await hooks.put_session()
        async with database.write() as db:
            await record(db, slow, AgentReady(attempt=1), now=clock())
            await db.flush()  # its id is made, and nobody sees it yet
            # An hour passes; others commit, and the scan comes by again and again.
            for _ in range(3):
                clock.forward(minutes=20)
                await hooks.put_events(quick, 1)
                await hooks.collector.scan()
            assert "agent.ready.v1" not in await collected(hooks, endpoint)
        await hooks.collector.scan()
        assert (await collected(hooks, endpoint)).count("agent.ready.v1") == 1
    await database.close()


async def test_the_cursor_moves_on_and_a_new_process_goes_on_from_there(
    hooks: WebhookBench, clock: FakeClock, redis: Redis
) -> None:
    endpoint = await hooks.put_endpoint(NOWHERE)
    await hooks.put_session()
    await hooks.collector.scan()
    first = await cursor(hooks)
    assert first is not None
    assert first.position < clock()
    clock.forward(minutes=10)
    await hooks.collector.scan()
    moved = await cursor(hooks)
    assert moved is not None
    assert moved.position == first.position + timedelta(minutes=10)
    async with webhook_bench(hooks.database, redis, FakeClock(clock())) as another:
        # Ten minutes on, by its clock; the events are of today, so they are behind the cursor.
        assert await another.collector.scan() == 0
        assert len(await hooks.deliveries(endpoint)) == 1


async def test_a_long_absence_is_made_up_for_in_batches(
    hooks: WebhookBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.webhooks.collect._BATCH", 7)
    endpoint = await hooks.put_endpoint(NOWHERE)
    sessions = [await hooks.put_session() for _ in range(3)]
    for session in sessions:
        await hooks.put_events(session, 9)
    assert await hooks.collector.scan() == 30
    wanted = {event.id for session in sessions for event in await get_events(hooks.database, session.id)}
    assert {delivery.event_id for delivery in await hooks.deliveries(endpoint)} == wanted


async def test_two_collectors_at_once_write_each_delivery_once(
    database_url: str, redis: Redis, clock: FakeClock
) -> None:
    mine, theirs = Database(database_url), Database(database_url)
    async with webhook_bench(mine, redis, clock) as one, webhook_bench(theirs, redis, clock) as other:
        endpoint = await one.put_endpoint(NOWHERE)
        await one.put_events(await one.put_session(), 29)
        assert sum(await asyncio.gather(one.collector.scan(), other.collector.scan())) == 30
        assert len(await one.deliveries(endpoint)) == 30
    await mine.close()
    await theirs.close()


async def test_old_deliveries_are_deleted_and_those_on_their_way_are_not(
    hooks: WebhookBench, clock: FakeClock
) -> None:
    endpoint = await hooks.put_endpoint(NOWHERE, enabled=True)
    await hooks.put_session()
    await hooks.collector.scan()
    clock.forward(days=31)
    assert await hooks.housekeeping.delete_old() == 0
    async with hooks.database.write() as db:
        row = await db.get(WebhookEndpointRow, endpoint.id)
        assert row is not None
        row.enabled = False
    assert await hooks.housekeeping.end_those_of_disabled_endpoints() == 1
    clock.forward(days=29)
    assert await hooks.housekeeping.delete_old() == 0
    clock.forward(days=2)
    assert await hooks.housekeeping.delete_old() == 1
    assert await hooks.deliveries() == []


async def test_an_event_that_the_database_refuses_holds_up_no_other(hooks: WebhookBench) -> None:
    endpoint = await hooks.put_endpoint(NOWHERE)
    row, poison = await hooks.put_session(), await hooks.put_session()
    await hooks.put_events(row, 3)
    async with refused(hooks.database, "webhook_delivery", "INSERT", f"NEW.session_id = '{poison.id}'"):
        assert await hooks.collector.scan() == 4
    assert {one.session_id for one in await hooks.deliveries(endpoint)} == {row.id}


async def test_an_outcome_that_the_database_refuses_holds_up_no_other(hooks: WebhookBench) -> None:
    async with Receiver() as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        rows = [await hooks.put_session() for _ in range(3)]
        condition = f"NEW.session_id = '{rows[1].id}' AND NEW.status = 'delivered'"
        await hooks.collector.scan()
        async with refused(hooks.database, "webhook_delivery", "UPDATE", condition):
            await hooks.settle()
        outcomes = {one.session_id: one.status for one in await hooks.deliveries(endpoint)}
        assert [outcomes[row.id] for row in rows] == ["delivered", "pending", "delivered"]
        # It was sent, and that isn't known: it is sent again, under its id, once its claim has lapsed.
        hooks.clock.forward(seconds=60)
        await hooks.settle()
        assert {one.status for one in await hooks.deliveries(endpoint)} == {"delivered"}
