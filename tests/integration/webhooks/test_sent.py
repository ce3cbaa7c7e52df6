"""Due webhooks are signed, sent, tried again by the schedule, and finally given up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import delete
from standardwebhooks import WebhookVerificationError

from services.webhooks.schedule import DELAYS_S
from shared.contracts.webhooks import DeliveryStatus
from shared.core.sessions.tables import EventRow
from shared.core.webhooks.secrets import new_secret
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.background import in_background
from tests.integration.webhooks.webhook_bench import WebhookBench, webhook_bench
from tests.stack_fixtures.waiting import eventually
from tests.support.receiver import Answer, Receiver
from tests.unit.making import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(utc_now())


@pytest.fixture
async def hooks(database: Database, redis: Redis, clock: FakeClock) -> AsyncIterator[WebhookBench]:
    async with webhook_bench(database, redis, clock, webhook_timeout_s=5) as made:
        yield made


async def test_an_event_arrives_signed_as_a_cloud_event(hooks: WebhookBench) -> None:
    async with Receiver() as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        session = await hooks.put_session()
        await hooks.collect_and_settle()
        [request] = receiver.received
        event = request.verified(endpoint.secret)
        assert (event["specversion"], event["type"]) == ("1.0", "session.requested.v1")
        assert event["subject"] == f"session/{session.id}"
        assert request.id == event["id"]
        assert request.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert request.headers["user-agent"] == "Rollcall/test"
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.attempts, delivery.response_code) == ("delivered", 1, 200)
        assert delivery.latency_ms is not None
        assert (delivery.next_attempt_at, delivery.claimed_until, delivery.error) == (None, None, None)
        await hooks.collect_and_settle()
        assert len(receiver.received) == 1


async def test_both_secrets_sign_while_one_takes_the_others_place(
    hooks: WebhookBench, clock: FakeClock
) -> None:
    old, new = new_secret(), new_secret()
    async with Receiver() as receiver:
        await hooks.put_endpoint(
            receiver.url,
            secret=new,
            previous_secret=old,
            previous_secret_until=clock() + timedelta(minutes=1),
        )
        await hooks.put_session()
        await hooks.collect_and_settle()
        clock.forward(minutes=2)
        await hooks.put_session()
        await hooks.collect_and_settle()
        during, after = receiver.received
        assert during.verified(old) == during.verified(new)
        after.verified(new)
        with pytest.raises(WebhookVerificationError):
            after.verified(old)


async def test_a_failing_endpoint_is_tried_for_a_day_under_one_id_and_then_given_up(
    hooks: WebhookBench, clock: FakeClock
) -> None:
    async with Receiver(always=Answer(500)) as receiver:
        await hooks.put_endpoint(receiver.url)
        await hooks.put_session()
        await hooks.collect_and_settle()
        began = clock()
        for number, delay in enumerate(DELAYS_S, start=1):
            delivery = await hooks.delivery()
            assert delivery.next_attempt_at == clock() + timedelta(seconds=delay)
            assert (delivery.status, delivery.attempts, delivery.error) == (
                "pending",
                number,
                "it answered 500",
            )
            clock.forward(seconds=delay - 1)
            await hooks.settle()
            assert len(receiver.received) == number, "not before its time"
            clock.forward(seconds=1)
            await hooks.settle()
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.DEAD, len(DELAYS_S) + 1)
        assert timedelta(hours=20) < clock() - began < timedelta(hours=30)
        clock.forward(days=2)
        await hooks.settle()
        assert len(receiver.received) == len(DELAYS_S) + 1
        assert len(set(receiver.ids)) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_what_an_endpoint_asks_for_is_granted_to_all_its_events(
    hooks: WebhookBench, clock: FakeClock, status: int
) -> None:
    async with Receiver(Answer(status, {"Retry-After": "900"})) as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        await hooks.put_session()
        await hooks.collect_and_settle()
        assert (await hooks.delivery()).next_attempt_at == clock() + timedelta(seconds=900)
        await hooks.put_session()
        clock.forward(seconds=890)
        await hooks.collect_and_settle()
        assert len(receiver.received) == 1, "it wants to be left in peace"
        clock.forward(seconds=10)
        await hooks.settle()
        assert len(receiver.received) == 3
        row = await hooks.endpoint(endpoint)
        assert (row.failing_since, row.paused_until) == (None, None)


async def test_an_endpoint_that_is_gone_is_disabled_and_gets_no_more(hooks: WebhookBench) -> None:
    async with Receiver(Answer(410)) as receiver:
        endpoint = await hooks.put_endpoint(receiver.url, failing_since=hooks.clock())  # so one at a time
        await hooks.put_session()
        await hooks.put_session()
        await hooks.collect_and_settle()
        assert len(receiver.received) == 1
        row = await hooks.endpoint(endpoint)
        assert (row.enabled, row.disabled_reason) == (False, "it answered 410 Gone")
        await hooks.housekeeping.end_those_of_disabled_endpoints()
        assert [d.status for d in await hooks.deliveries()] == ["dead", "dead"]
        assert {d.error for d in await hooks.deliveries()} == {
            "the endpoint is gone (410)",
            "the endpoint is disabled",
        }


async def test_an_endpoint_that_fails_for_days_is_disabled_with_the_reason(
    hooks: WebhookBench, clock: FakeClock
) -> None:
    async with Receiver(always=Answer(500)) as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        for days in (1, 5):  # the first dead letter is too early for a verdict
            assert (await hooks.endpoint(endpoint)).enabled
            await hooks.put_session()
            await hooks.collect_and_settle()
            for _ in DELAYS_S:
                clock.forward(hours=10)
                await hooks.settle()
            clock.forward(days=days)
        row = await hooks.endpoint(endpoint)
        assert not row.enabled
        assert row.disabled_reason is not None
        assert row.disabled_reason.startswith("every attempt has failed since 20")


async def test_a_slow_endpoint_delays_no_other_and_has_so_many_in_hand_at_most(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    gate = asyncio.Event()
    settings = {"webhook_endpoint_concurrency": 2, "webhook_timeout_s": 30}
    async with (
        Receiver(always=Answer(gate=gate)) as slow,
        Receiver() as quick,
        webhook_bench(database, redis, clock, **settings) as hooks,
    ):
        await hooks.put_endpoint(slow.url)
        await hooks.put_endpoint(quick.url)
        session = await hooks.put_session()
        await hooks.put_events(session, 9)
        await hooks.collector.scan()
        async with in_background(hooks.deliverer.run()):
            await eventually(lambda: len(quick.received) == 10 and len(slow.received) == 2)
            assert slow.at_once == 2
            gate.set()
            await eventually(lambda: len(slow.received) == 10)
            assert max(slow.most_at_once, quick.most_at_once) == 2
        await hooks.deliverer.drain(30)
        assert {d.status for d in await hooks.deliveries()} == {"delivered"}


async def test_one_that_fails_is_asked_one_at_a_time(hooks: WebhookBench, clock: FakeClock) -> None:
    async with Receiver(always=Answer(500)) as receiver:
        await hooks.put_endpoint(receiver.url, failing_since=clock())
        await hooks.put_events(await hooks.put_session(), 4)
        await hooks.collect_and_settle()
        assert (len(receiver.received), receiver.most_at_once) == (5, 1)


async def test_no_answer_in_time_is_a_failure(database: Database, redis: Redis, clock: FakeClock) -> None:
    never = Answer(gate=asyncio.Event())
    async with (
        Receiver(always=never) as receiver,
        webhook_bench(database, redis, clock, webhook_timeout_s=0.2) as hooks,
    ):
        await hooks.put_endpoint(receiver.url)
        await hooks.put_session()
        await hooks.collect_and_settle()
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.error) == ("pending", "no answer in 0.2 s")


async def test_nobody_there_is_a_failure(hooks: WebhookBench, free_port: int) -> None:
    await hooks.put_endpoint(f"http://127.0.0.1:{free_port}/")
    await hooks.put_session()
    await hooks.collect_and_settle()
    delivery = await hooks.delivery()
    assert (delivery.status, delivery.response_code) == ("pending", None)
    assert "Cannot connect" in (delivery.error or "")


@pytest.mark.sql
async def test_two_replicas_that_race_send_each_once(
    database_url: str, redis: Redis, clock: FakeClock
) -> None:
    mine, theirs = Database(database_url), Database(database_url)
    async with (
        Receiver() as receiver,
        webhook_bench(mine, redis, clock) as one,
        webhook_bench(theirs, redis, clock) as other,
    ):
        await one.put_endpoint(receiver.url)
        await one.put_events(await one.put_session(), 59)
        await asyncio.gather(one.collector.scan(), other.collector.scan())
        assert len(await one.deliveries()) == 60
        while sum(await asyncio.gather(one.deliverer.deliver_due(), other.deliverer.deliver_due())):
            await asyncio.gather(one.deliverer.drain(30), other.deliverer.drain(30))
        assert len(receiver.ids) == len(set(receiver.ids)) == 60
        assert {(d.status, d.attempts) for d in await one.deliveries()} == {("delivered", 1)}
    await mine.close()
    await theirs.close()


async def test_who_has_lost_his_claim_records_nothing(hooks: WebhookBench, clock: FakeClock) -> None:
    late, good = asyncio.Event(), asyncio.Event()
    async with Receiver(Answer(500, gate=late), Answer(200, gate=good)) as receiver:
        await hooks.put_endpoint(receiver.url)
        await hooks.put_session()
        await hooks.collector.scan()
        await hooks.deliverer.deliver_due()
        await eventually(lambda: len(receiver.received) == 1)
        clock.forward(minutes=5)  # the claim has lapsed: the next turn takes it, as another process would
        await hooks.deliverer.deliver_due()
        await eventually(lambda: len(receiver.received) == 2)
        late.set()
        await eventually(lambda: len(hooks.deliverer._done) == 1)
        await hooks.deliverer.deliver_due()
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.attempts, delivery.error) == ("pending", 2, None)
        assert delivery.claimed_until is not None, "whoever has it now still has it"
        good.set()
        await hooks.deliverer.drain(30)
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.attempts, delivery.response_code) == ("delivered", 2, 200)
        assert receiver.ids[0] == receiver.ids[1]


async def test_an_event_that_is_not_there_any_more_ends_as_a_dead_letter(
    hooks: WebhookBench, clock: FakeClock
) -> None:
    async with Receiver() as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        await hooks.put_session()
        await hooks.collector.scan()
        async with hooks.database.write() as db:
            await db.execute(delete(EventRow))
        for _ in range(len(DELAYS_S) + 1):
            await hooks.settle()
            clock.forward(hours=11)
        delivery = await hooks.delivery()
        assert (delivery.status, delivery.error) == ("dead", "its event no longer exists")
        assert receiver.received == []
        assert (await hooks.endpoint(endpoint)).failing_since is None, "that is none of its fault"
