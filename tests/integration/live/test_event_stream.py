"""Follow a session: its events, its turns once they are stored, and its captions."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import update
from sqlmodel import col

from services.api.auth.access import Principal
from services.api.live import hub as live
from services.api.live.event_id import Position
from services.api.live.hub import Hub
from services.api.live.session_feed import SessionFeed
from services.api.live.subscriber import Subscriber
from shared.contracts.events import AgentReady, CaptionChanged, Envelope, SessionEnded, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import NEWS_CHANNEL, captions_channel
from shared.contracts.sessions import Role, SessionStatus
from shared.core.sessions.repository import advance, record
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.hints import give_hint
from tests.integration.api_client import api_settings, served
from tests.integration.rows import a_turn, get_session, put_session, store_turns
from tests.integration.transcripts.consuming import consuming, say
from tests.stack_fixtures.waiting import eventually
from tests.support.event_streams import Stream, following, read_to_end
from tests.unit.making import T0

LONG_AGO = utc_now() - timedelta(minutes=1)


@pytest.fixture
def unpolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without polls, so that everything comes by a hint."""
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 3600)


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(api_settings(database_url, redis_url)) as opened:
        yield opened


async def tell(redis: Redis, database: Database, *turns: TurnFinished) -> None:
    """Store turns and give the hint, as the consumer does."""
    await store_turns(database, turns)
    await give_hint(redis, turns[0].session_id, channel=NEWS_CHANNEL)


async def an_ended_session(database: Database, *turns: int) -> SessionRow:
    row = await put_session(database, status=SessionStatus.ACTIVE, active_at=LONG_AGO)
    for attempt in (1, 2):
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=attempt), now=LONG_AGO)
    if turns:
        await store_turns(database, [a_turn(row.id, seq) for seq in turns])
    await end(database, row.id)
    return row


async def end(database: Database, session_id: str, **changes: Any) -> None:
    row = await get_session(database, session_id)
    async with database.write() as db:
        event = SessionEnded(reason="said goodbye")
        assert await advance(db, row, SessionStatus.ENDED, event=event, now=LONG_AGO)
        changes.setdefault("ended_at", LONG_AGO)
        await db.execute(update(SessionRow).where(col(SessionRow.id) == session_id).values(**changes))


def a_caption(session_id: str, text: str, **changes: Any) -> str:
    values: dict[str, Any] = {"segment_id": "1.user.1", "role": Role.USER, **changes}
    caption = CaptionChanged(session_id=SessionId(session_id), attempt=1, text=text, **values)
    return wrap(caption, session_id=caption.session_id, source="tests", time=T0).model_dump_json()


async def until_listening(redis: Redis, session_id: str) -> None:
    channel = captions_channel(session_id)

    async def listening() -> bool:
        return dict(await redis.pubsub_numsub(channel))[channel] > 0

    await eventually(listening)


async def test_who_comes_late_gets_everything_and_then_each_turn_as_it_comes(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(row.id, seq) for seq in (3, 1)])
    async with following(client, row.id) as stream:
        await stream.until(lambda s: len(s.received) == 3)
        await tell(redis, database, a_turn(row.id, 1002))
        await stream.until(lambda s: 1002 in s.turns)
        await tell(redis, database, a_turn(row.id, 2))  # late, and out of order
        await stream.until(lambda s: 2 in s.turns)
    assert stream.turns == [1, 3, 1002, 2]
    assert [event.id for event in stream.received] == ["1", "1.1", "1.1,3", "1.1,3,1002", "1.1-3,1002"]
    turn = stream.received[1].data
    assert (turn["subject"], turn["data"]["text"]) == (f"session/{row.id}", "This is turn 1.")
    again = await _first(client, row.id)
    assert again.received[1].data == turn, "under the same id, whoever asks and whenever"


async def _first(client: httpx.AsyncClient, session_id: str) -> Stream:
    async with following(client, session_id) as stream:
        await stream.until(lambda s: len(s.turns) == 4)
    return stream


async def test_a_long_call_is_read_in_pages_and_many_turns_at_once_are_all_sent(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(row.id, seq) for seq in range(120, 0, -1)])
    async with following(client, row.id) as stream:
        await stream.until(lambda s: len(s.turns) == 120)
        await tell(redis, database, *(a_turn(row.id, seq) for seq in range(121, 201)))
        await stream.until(lambda s: len(s.turns) == 200)
    assert stream.turns == list(range(1, 201))
    assert stream.last_id == "1.1-200"


async def test_who_comes_back_misses_nothing_wherever_he_was(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await an_ended_session(database, *range(1, 8), *range(1001, 1004))
    whole = await read_to_end(client, row.id)
    assert whole.types[:4] == ["session.requested.v1", "agent.ready.v1", "agent.ready.v1", "session.ended.v1"]
    assert whole.last_id == "4.1-7,1001-1003"
    for place, event in enumerate(whole.received):
        rest = await read_to_end(client, row.id, event.id)
        assert rest.received == whole.received[place + 1 :]


async def test_a_turn_that_comes_after_all_others_were_seen_is_still_sent(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await an_ended_session(database, 1, 3)
    seen = (await read_to_end(client, row.id)).last_id
    assert (await read_to_end(client, row.id, seen)).received == []
    await store_turns(database, [a_turn(row.id, 2)])

    async def sent() -> bool:
        return (await read_to_end(client, row.id, seen)).turns == [2]

    await eventually(sent)


async def test_of_two_turns_with_one_number_none_is_missed(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await an_ended_session(database, 1, 2)
    seen = (await read_to_end(client, row.id)).last_id
    await store_turns(database, [a_turn(row.id, 2, item_id="item_of_another_agent", text="Another.")])

    async def sent() -> bool:
        rest = await read_to_end(client, row.id, seen)
        return "Another." in [event.text for event in rest.received] and rest.last_id == "4.1-2,2x2"

    await eventually(sent)
    assert (await read_to_end(client, row.id, "4.1-2,2x2")).received == []


@pytest.mark.parametrize("last_event_id", ["x", "-1", "1.7-2", "1.2,", "9" * 10, "1.1" + ",3" * 5000])
async def test_a_position_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, database: Database, last_event_id: str
) -> None:
    row = await put_session(database)
    headers = {"accept": "text/event-stream", "last-event-id": last_event_id}
    response = await client.get(f"/v1/sessions/{row.id}/events", headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_the_stream_outlives_the_call_until_its_last_turns_are_here(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    row = await put_session(
        database,
        status=SessionStatus.ACTIVE,
        active_at=utc_now(),
        attempt={"number": 1, "counted_at": utc_now(), "expected_turns": 2},
    )
    await store_turns(database, [a_turn(row.id, 1)])
    async with following(client, row.id) as stream:
        await stream.until(lambda s: s.turns == [1])
        # With this clock, no time limit passes before the test ends.
        await end(database, row.id, ended_at=utc_now() + timedelta(hours=1))
        await give_hint(redis, row.id, channel=NEWS_CHANNEL)
        await stream.until(lambda s: "session.ended.v1" in s.types)
        assert not stream.over.is_set()
        await tell(redis, database, a_turn(row.id, 2))
        await stream.over.wait()
    assert stream.turns == [1, 2]
    assert (await read_to_end(client, row.id, stream.last_id)).received == []


async def test_a_turn_goes_from_the_agents_stream_to_all_who_follow(
    unpolled: None,
    client: httpx.AsyncClient,
    database: Database,
    database_url: str,
    redis: Redis,
    redis_url: str,
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    async with consuming(database_url, redis_url), asyncio.TaskGroup() as group:

        async def follow() -> None:
            async with following(client, row.id) as stream:
                await stream.until(lambda s: s.received != [])
                ready.release()
                await stream.until(lambda s: 2 in s.turns)
            assert stream.turns == [1, 2]

        ready = asyncio.Semaphore(0)
        for _ in range(20):
            group.create_task(follow())
        for _ in range(20):
            await ready.acquire()
        await say(redis, a_turn(row.id, 1), a_turn(row.id, 2))


async def test_what_no_hint_tells_of_is_found_all_the_same(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 0.05)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    async with following(client, row.id) as stream:
        await stream.until(lambda s: len(s.received) == 1)
        await store_turns(database, [a_turn(row.id, 1)])
        await stream.until(lambda s: s.turns == [1])
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=1), now=T0)
        await stream.until(lambda s: "agent.ready.v1" in s.types)


async def test_captions_are_shown_without_an_id(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    row, other = [await put_session(database, status=SessionStatus.ACTIVE) for _ in range(2)]
    async with following(client, row.id) as stream:
        await until_listening(redis, row.id)
        channel = captions_channel(row.id)
        for nonsense in ("", "{}", a_caption(other.id, "of another session"), "\x00", "[" * 1000):
            await redis.publish(channel, nonsense)
        await redis.publish(channel, a_caption(row.id, "What are"))
        await stream.until(lambda s: len(s.captions) == 1)
        await redis.publish(channel, a_caption(row.id, "What are your", final=True))
        await stream.until(lambda s: len(s.captions) == 2)
        await tell(redis, database, a_turn(row.id, 1))
        await stream.until(lambda s: s.turns == [1])
    assert [caption.text for caption in stream.captions] == ["What are", "What are your"]
    assert [caption.id for caption in stream.captions] == [None, None]
    assert stream.last_id == "1.1"

    async def nobody_listens() -> bool:
        return dict(await redis.pubsub_numsub(channel))[channel] == 0

    await eventually(nobody_listens)


async def test_who_is_slow_gets_the_latest_words_of_the_latest_segments(database: Database) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    feed = SessionFeed(row.id, database=database, reading=asyncio.Semaphore(1), now=utc_now)
    await feed.read_news()
    subscriber = Subscriber(feed, after=Position(1), with_text=True)
    for number in range(1000):
        envelope = Envelope.model_validate_json(
            a_caption(row.id, f"word {number}", segment_id=f"1.user.{number // 100}")
        )
        caption = envelope.event()
        assert isinstance(caption, CaptionChanged)
        subscriber.caption(envelope, caption)
    async with asyncio.timeout(10), aclosing(subscriber.events()) as events:
        texts = [json.loads((await anext(events)).data or "")["data"]["text"] for _ in range(4)]
        nothing = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not nothing.done()
        nothing.cancel()
        with suppress(asyncio.CancelledError):
            await nothing
    assert texts == ["word 699", "word 799", "word 899", "word 999"]


@pytest.mark.parametrize(
    "why", [{"transcript_store": "metadata"}, {"transcript_redactor": "json:dumps"}, {"live_captions": False}]
)
async def test_there_are_no_captions_where_text_is_not_to_be_shown(
    sqlite_url: str, redis: Redis, redis_url: str, why: dict[str, Any]
) -> None:
    database = Database(sqlite_url)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    async with (
        served(api_settings(sqlite_url, redis_url, **why)) as client,
        following(client, row.id) as stream,
    ):
        await stream.until(lambda s: len(s.received) == 1)
        await redis.publish(captions_channel(row.id), a_caption(row.id, "a secret"))
        await tell(redis, database, a_turn(row.id, 1))
        await stream.until(lambda s: s.turns == [1])
        assert await redis.pubsub_numsub(captions_channel(row.id)) == [(captions_channel(row.id), 0)]
    assert stream.captions == []
    await database.close()


async def test_there_are_no_captions_of_a_session_whose_text_was_erased(
    client: httpx.AsyncClient, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 0.05)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(row.id, 1)])
    async with following(client, row.id) as stream:
        await until_listening(redis, row.id)
        assert (await client.delete(f"/v1/sessions/{row.id}/transcript")).status_code == 200
        await tell(redis, database, a_turn(row.id, 2))
        await stream.until(lambda s: 2 in s.turns)
        await redis.publish(captions_channel(row.id), a_caption(row.id, "a secret"))
        await tell(redis, database, a_turn(row.id, 3))
        await stream.until(lambda s: 3 in s.turns)
    assert stream.captions == []
    assert [event.text for event in stream.received if event.type.startswith("transcript")][1:] == ["", ""]


async def test_many_followers_who_come_at_once_leave_the_database_to_others_too(
    client: httpx.AsyncClient, database: Database
) -> None:
    rows = [await an_ended_session(database, 1) for _ in range(30)]
    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(read_to_end(client, row.id)) for row in rows]
    assert [task.result().last_id for task in reading] == ["4.1"] * 30


async def test_who_may_not_read_text_gets_events_only(database: Database, redis: Redis) -> None:
    row = await an_ended_session(database, 1, 2)
    follower = Hub(reads=database, redis=redis, now=utc_now, captions=True, max_followers=1)
    stream = await follower.follow(row.id, asking=Principal(), after=Position(), with_text=False)
    assert stream is not None
    assert [event.id async for event in stream] == ["1", "2", "3", "4"]
    assert await follower.follow(row.id, asking=Principal(), after=Position(4), with_text=False) is None


async def test_who_may_not_read_text_gets_no_turn_that_comes_later_either(database: Database) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    feed = SessionFeed(row.id, database=database, reading=asyncio.Semaphore(1), now=utc_now)
    await feed.read_news()
    subscriber = Subscriber(feed, after=Position(), with_text=False)
    async with asyncio.timeout(10), aclosing(subscriber.events()) as events:
        assert (await anext(events)).id == "1"
        await store_turns(database, [a_turn(row.id, 1)])
        await feed.read_news()
        subscriber.wake.set()
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)  # a turn would come by now
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=1), now=T0)
        await feed.read_news()
        subscriber.wake.set()
        assert (await coming).id == "2"
