"""The outbox relay publishes committed events in order, enqueues the next task, and loses nothing."""

import asyncio
import time
from datetime import timedelta

import pytest
from kombu.exceptions import KombuError
from redis.asyncio import Redis

from devstack.process import Process
from shared.contracts.causes import Cause
from shared.contracts.events import (
    SESSION_EVENTS,
    AgentJoined,
    AgentMissing,
    AgentReady,
    DispatchAccepted,
    DispatchStarted,
    Envelope,
    Event,
    SessionCancelled,
    SessionFailed,
)
from shared.contracts.keys import CLOSE_TASK, DISPATCH_TASK, ENVELOPE_FIELD, EVENTS_STREAM, VERIFY_TASK
from shared.core.sessions.outbox import FOLLOW_UP, OVERDUE, Relay
from shared.core.sessions.repository import record
from shared.core.sessions.tables import SessionRow
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE
from tests.integration.background import in_background
from tests.integration.conftest import Queued
from tests.integration.rows import get_events, put_session
from tests.support.sessions import until
from tests.support.stream_entries import entries_of

pytestmark = pytest.mark.sql

MISSING = AgentMissing(attempt=1, cause=Cause.UNKNOWN)
ACCEPTED = DispatchAccepted(attempt=1, dispatch_id="AD_1")


async def add(database: Database, session_id: str, *events: Event) -> None:
    for event in events:
        async with database.write() as db:
            await record(db, await db.get_one(SessionRow, session_id), event, now=utc_now())


async def published(redis: Redis) -> list[Envelope]:
    return [
        Envelope.model_validate_json(f[ENVELOPE_FIELD]) for _, f in await entries_of(redis, EVENTS_STREAM)
    ]


async def unsent(database: Database, session_id: str) -> list[int]:
    return [e.sequence for e in await get_events(database, session_id) if e.published_at is None]


async def test_a_sessions_events_are_published_soon_in_order_and_marked(
    database: Database, relay: Relay, redis: Redis
) -> None:
    row = await put_session(database)
    await add(database, row.id, DispatchStarted(attempt=1, max_attempts=3), ACCEPTED, AgentReady(attempt=1))
    async with in_background(relay.run()):
        relay.publish_soon(row.id)

        async def all_sent() -> bool:
            return not await unsent(database, row.id)

        await until(all_sent, what="everything is marked as published", timeout_s=20)
    envelopes = await published(redis)
    stored = await get_events(database, row.id)
    assert [envelope.sequence for envelope in envelopes] == [1, 2, 3, 4]
    assert [envelope.id for envelope in envelopes] == [event.id for event in stored]
    assert [envelope.time for envelope in envelopes] == [event.occurred_at for event in stored]
    assert {envelope.session_id for envelope in envelopes} == {row.id}
    assert {envelope.source for envelope in envelopes} == {"rollcall"}
    assert envelopes[2].event() == ACCEPTED


async def test_what_is_published_is_not_published_again(
    database: Database, relay: Relay, redis: Redis, queued: Queued
) -> None:
    row = await put_session(database)
    assert await relay.publish_events([row.id]) == 1
    assert await relay.publish_events([row.id]) == 0
    assert len(await published(redis)) == 1
    assert await queued() == {DISPATCH_TASK: [row.id]}


async def test_what_is_published_soon_is_of_that_session_and_no_other(
    database: Database, relay: Relay, redis: Redis
) -> None:
    row, other = await put_session(database), await put_session(database)
    await relay.publish_events([row.id])
    assert await unsent(database, row.id) == []
    assert await unsent(database, other.id) == [1]


EXAMPLES: dict[str, Event] = {
    MISSING.type: MISSING,
    ACCEPTED.type: ACCEPTED,
    SessionCancelled.type: SessionCancelled(reason="x"),
    SessionFailed.type: SessionFailed(attempt=1, cause=Cause.UNKNOWN, advice="x"),
    AgentJoined.type: AgentJoined(
        attempt=1, participant_identity="a", participant_sid="PA_1", join_seconds=1.0
    ),
    AgentReady.type: AgentReady(attempt=1),
}


def test_the_events_that_call_for_a_task_are_these() -> None:
    assert FOLLOW_UP == {
        "session.requested.v1": DISPATCH_TASK,
        "agent.missing.v1": DISPATCH_TASK,
        "agent.lost.v1": DISPATCH_TASK,
        "dispatch.accepted.v1": VERIFY_TASK,
        "session.failed.v1": CLOSE_TASK,
        "session.ended.v1": CLOSE_TASK,
        "session.cancelled.v1": CLOSE_TASK,
    }
    assert set(FOLLOW_UP) <= {event.type for event in SESSION_EVENTS}


@pytest.mark.parametrize("event", EXAMPLES.values(), ids=EXAMPLES)
async def test_an_event_is_followed_by_exactly_its_task(
    database: Database, relay: Relay, redis: Redis, queued: Queued, event: Event
) -> None:
    row = await put_session(database)
    await relay.publish_events([row.id])
    for queue in ("rollcall.dispatch", "rollcall.verify", "rollcall.housekeeping"):
        await redis.delete(queue)
    await add(database, row.id, event)
    await relay.publish_events([row.id])
    wanted = FOLLOW_UP.get(event.type)
    assert await queued() == ({} if wanted is None else {wanted: [row.id]})


async def test_of_several_unsent_events_only_the_last_calls_for_a_task(
    database: Database, relay: Relay, queued: Queued
) -> None:
    row = await put_session(database)
    await add(database, row.id, ACCEPTED, MISSING, SessionCancelled(reason="x"), AgentReady(attempt=1))
    await relay.publish_events([row.id])
    assert await queued() == {CLOSE_TASK: [row.id]}


async def test_many_sessions_at_once_each_get_their_task_and_keep_their_order(
    database: Database, relay: Relay, redis: Redis, queued: Queued
) -> None:
    rows = [await put_session(database) for _ in range(5)]
    for row in rows:
        await add(database, row.id, ACCEPTED)
    assert await relay.publish_events([row.id for row in rows]) == 10
    assert sorted((await queued())[VERIFY_TASK]) == sorted(row.id for row in rows)
    by_session: dict[str, list[int | None]] = {}
    for envelope in await published(redis):
        by_session.setdefault(envelope.session_id, []).append(envelope.sequence)
    assert by_session == {row.id: [1, 2] for row in rows}


async def test_publishing_tells_who_follows_the_session(
    database: Database, relay: Relay, redis: Redis
) -> None:
    row = await put_session(database)
    async with redis.pubsub() as channel:
        await channel.subscribe("rollcall:news")
        assert (await channel.get_message(timeout=10) or {})["type"] == "subscribe"
        await relay.publish_events([row.id])
        message = await channel.get_message(timeout=10)
    assert message is not None
    assert message["data"] == row.id


async def test_with_redis_down_nothing_is_marked_and_the_sweep_sends_it_later(
    database: Database, relay: Relay, redis: Redis, queued: Queued, own_redis: tuple[str, Process]
) -> None:
    url, server = own_redis
    away = connect_redis(url)
    sender = TaskSender(make_celery("tests-away", url))
    cut_off = Relay(database=database, redis=away, tasks=sender)
    long_ago = utc_now() - OVERDUE - timedelta(seconds=1)
    row = await put_session(database, requested_at=long_ago)
    await server.stop()
    with pytest.raises((KombuError, *UNREACHABLE)):
        await cut_off.publish_events([row.id])
    assert await unsent(database, row.id) == [1]
    assert await relay.publish_overdue() == 1
    assert await unsent(database, row.id) == []
    assert len(await published(redis)) == 1
    assert await queued() == {DISPATCH_TASK: [row.id]}
    assert await relay.publish_overdue() == 0
    await away.aclose()
    sender.close()


async def test_a_relay_goes_on_after_redis_was_away(
    database: Database, own_redis: tuple[str, Process]
) -> None:
    url, server = own_redis
    redis = connect_redis(url)
    sender = TaskSender(make_celery("tests-again", url))
    relay = Relay(database=database, redis=redis, tasks=sender)
    row = await put_session(database)
    async with in_background(relay.run()):
        await server.stop()
        relay.publish_soon(row.id)
        await asyncio.sleep(0)
        await server.start()

        async def all_sent() -> bool:
            relay.publish_soon(row.id)
            return not await unsent(database, row.id)

        await until(all_sent, what="the event is published after all", timeout_s=30)
    await redis.aclose()
    sender.close()


async def test_what_was_committed_just_now_is_left_to_who_committed_it(
    database: Database, relay: Relay, redis: Redis
) -> None:
    row = await put_session(database, requested_at=utc_now())
    assert await relay.publish_overdue() == 0
    assert await unsent(database, row.id) == [1]
    assert await published(redis) == []


async def test_a_broker_that_refuses_connections_is_told_of_at_once(free_port: int) -> None:
    sender = TaskSender(make_celery("tests-refused", f"redis://127.0.0.1:{free_port}/0"))
    started = time.monotonic()
    with pytest.raises((KombuError, *UNREACHABLE)):
        await sender.send(DISPATCH_TASK, ["s-1"])
    # The sweep holds its lease for 3 s and must be back in time to give up what is overdue.
    assert time.monotonic() - started < 5
    sender.close()
