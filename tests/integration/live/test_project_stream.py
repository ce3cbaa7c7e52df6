"""Follow a project: its sessions' events as they are committed, and what a client that was away gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import update
from sqlmodel import col

from services.api.auth.access import Principal, Scope
from services.api.keys.manage import revoke_key
from services.api.live import hub as live
from services.api.live import project_feed
from services.api.live.project_feed import ProjectFeed, ProjectFollower
from shared.contracts.events import AgentReady, SessionRequested
from shared.contracts.identifiers import first_id, new_id
from shared.contracts.keys import NEWS_CHANNEL, captions_channel
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import record
from shared.core.sessions.tables import EventRow, SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.hints import give_hint
from tests.integration.api_client import api_settings, assert_problem, served
from tests.integration.live.test_event_stream import a_caption, until_listening
from tests.integration.rows import a_turn, put_session, store_turns
from tests.support.event_streams import Stream, reading_stream
from tests.support.keys import id_in, put_key
from tests.unit.making import T0

REQUESTED, READY = SessionRequested.type, AgentReady.type


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(api_settings(database_url, redis_url)) as opened:
        yield opened


@asynccontextmanager
async def following_project(
    client: httpx.AsyncClient, last_event_id: str | None = None, query: str = "", **more: Any
) -> AsyncIterator[Stream]:
    async with reading_stream(client, f"/v1/events{query}", last_event_id, **more) as stream:
        await stream.until(lambda s: s.types[:1] == ["position"])
        yield stream


async def is_ready(database: Database, row: SessionRow, *, attempt: int = 1) -> None:
    async with database.write() as db:
        await record(db, row, AgentReady(attempt=attempt), now=T0)


async def made_with(database: Database, row: SessionRow, event_id: str) -> None:
    """Give the session's last event another id: that of a transaction that began at another time."""
    async with database.write() as db:
        last = col(EventRow.sequence) == 2
        await db.execute(update(EventRow).where(col(EventRow.session_id) == row.id, last).values(id=event_id))


def id_made(ago: timedelta) -> str:
    """Like the id of an event of that time."""
    return f"{first_id(utc_now() - ago)}{new_id()[13:]}"


def subjects(stream: Stream, event_type: str = READY) -> list[str]:
    return [event.data["subject"] for event in stream.received if event.type == event_type]


async def test_each_event_of_the_project_comes_by_its_hint(
    client: httpx.AsyncClient, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 3600)
    ours, theirs = await put_session(database), await put_session(database, project="theirs")
    async with following_project(client) as stream:
        assert stream.received[0].data == {"resumed": False}
        for row in (theirs, ours):
            await is_ready(database, row)
            await give_hint(redis, row.id, channel=NEWS_CHANNEL)
        await stream.until(lambda s: READY in s.types)
        new = await put_session(database)
        await give_hint(redis, new.id, channel=NEWS_CHANNEL)
        await stream.until(lambda s: REQUESTED in s.types)
    assert [subject.partition("/")[2] for subject in subjects(stream)] == [ours.id]
    assert subjects(stream, REQUESTED) == [f"session/{new.id}"], "the first one's request was before"
    ids = [event.id or "" for event in stream.received]
    assert ids == sorted(ids)


async def test_what_no_hint_tells_of_is_found_once(
    client: httpx.AsyncClient, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_INTERVAL_S", 0.05)
    row = await put_session(database)
    async with following_project(client) as stream, following_project(client) as other:
        for attempt in (1, 2, 3):
            await is_ready(database, row, attempt=attempt)
        for each in (stream, other):
            await each.until(lambda s: s.types.count(READY) == 3)
        await give_hint(redis, row.id, channel=NEWS_CHANNEL)
        await is_ready(database, row, attempt=4)
        await stream.until(lambda s: s.types.count(READY) >= 4)
    attempts = [event.data["data"]["attempt"] for event in stream.received if event.type == READY]
    assert attempts == [1, 2, 3, 4]


async def test_who_was_away_gets_what_was_committed_meanwhile_also_under_an_older_id(
    client: httpx.AsyncClient, database: Database
) -> None:
    late, seen, missed = [await put_session(database) for _ in range(3)]
    older = new_id()
    async with following_project(client) as stream:
        await is_ready(database, seen)
        await stream.until(lambda s: READY in s.types)
    await is_ready(database, late)
    await made_with(database, late, older)
    await is_ready(database, missed)
    async with following_project(client, stream.last_id) as again:
        assert again.received[0].data == {"resumed": True}
        await again.until(lambda s: {f"session/{late.id}", f"session/{missed.id}"} <= set(subjects(s)))
        assert again.last_id > older, "the id never goes back"
    known = {event.data["id"] for event in stream.received[1:]}
    assert known <= {event.data["id"] for event in again.received[1:]}, "under the ids that they had"


async def test_an_id_may_be_in_the_url_and_is_valid_for_a_day(
    client: httpx.AsyncClient, database: Database
) -> None:
    row = await put_session(database)
    await is_ready(database, row)
    await made_with(database, row, id_made(timedelta(hours=22)))
    for ago, resumed in ((timedelta(hours=23), True), (timedelta(hours=25), False)):
        async with following_project(client, query=f"?after={id_made(ago)}") as stream:
            assert stream.received[0].data == {"resumed": resumed}
            new = await put_session(database)
            await stream.until(lambda s, id_=new.id: f"session/{id_}" in subjects(s, REQUESTED))  # type: ignore[misc]
        assert (f"session/{row.id}" in subjects(stream)) is resumed


async def test_a_long_absence_is_read_in_pages(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_feed, "_PAGE", 7)
    before = new_id()
    row = await put_session(database)
    for attempt in range(30):
        await is_ready(database, row, attempt=attempt + 1)
    async with following_project(client, before) as stream:
        await stream.until(lambda s: s.types.count(READY) == 30)
    assert [event.data["sequence"] for event in stream.received[1:]] == list(range(1, 32))


async def test_sessions_are_followed_in_the_same_stream_with_their_words(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    first, second, other = [await put_session(database, status=SessionStatus.ACTIVE) for _ in range(3)]
    await store_turns(database, [a_turn(first.id, 1), a_turn(other.id, 1)])
    query = f"?session_id={first.id}&session_id={second.id}"
    async with following_project(client, query=query) as stream:
        await until_listening(redis, second.id)
        await redis.publish(captions_channel(second.id), a_caption(second.id, "What are"))
        await store_turns(database, [a_turn(second.id, 5)])
        await give_hint(redis, second.id, channel=NEWS_CHANNEL)
        await stream.until(lambda s: sorted(s.turns) == [1, 5] and len(s.captions) == 1)
        await is_ready(database, second)
        await stream.until(lambda s: s.types.count(READY) == 2)
    words = [event for event in stream.received if event.type.startswith("transcript.")]
    assert {event.id for event in words} == {None}, "they come anew after a reconnect"
    assert f"session/{other.id}" not in {event.data["subject"] for event in words}


async def test_a_key_that_may_not_read_words_gets_none(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(row.id, 1, text="swordfish")])
    key = await put_key(database, Scope.SESSIONS_READ)
    async with (
        served(api_settings(database_url, redis_url, api_auth="keys")) as client,
        following_project(client, query=f"?session_id={row.id}", key=key) as stream,
    ):
        await store_turns(database, [a_turn(row.id, 2, text="swordfish")])
        await redis.publish(captions_channel(row.id), a_caption(row.id, "swordfish"))
        await is_ready(database, row)
        await stream.until(lambda s: s.types.count(READY) == 2)
        assert "swordfish" not in str(stream.received)
        await revoke_key(database, id_in(key), now=utc_now)
        await stream.over.wait()
    assert (stream.received[-1].type, stream.received[-1].data["code"]) == ("problem", "key_revoked")


async def test_what_makes_no_sense_or_is_anothers_is_refused(
    client: httpx.AsyncClient, database: Database
) -> None:
    theirs = await put_session(database, project="theirs")
    stream = {"accept": "text/event-stream"}
    assert_problem(await client.get("/v1/events"), 422, "invalid_request")
    for query in ("after=x", "after=0", "&".join(f"session_id={number}" for number in range(17))):
        assert_problem(await client.get(f"/v1/events?{query}", headers=stream), 422, "invalid_request")
    for session_id in (theirs.id, new_id()):
        answer = await client.get(f"/v1/events?session_id={session_id}", headers=stream)
        assert_problem(answer, 404, "session_not_found")


async def test_who_takes_nothing_is_let_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_feed, "_MOST_WAITING", 2)
    feed = ProjectFeed(database=database, reading=asyncio.Semaphore(1), now=utc_now)
    follower = ProjectFollower(Principal(), after="")
    async with asyncio.timeout(30), feed.followed_by(follower), aclosing(follower.events(feed)) as events:
        assert (await anext(events)).event == "position"
        row = await put_session(database)
        await is_ready(database, row)
        await feed.read_news()
        await is_ready(database, row, attempt=2)
        await feed.read_news()
        assert [event.event async for event in events] == [], "its client comes back, and reads them"


async def test_nobody_who_follows_costs_nothing(database: Database) -> None:
    feed = ProjectFeed(database=database, reading=asyncio.Semaphore(0), now=utc_now)
    feed.hint(new_id())
    async with asyncio.timeout(30):
        await feed.read_news()  # would wait for ever for its place


async def test_a_follower_may_leave_while_its_news_are_read(database: Database) -> None:
    reading = asyncio.Semaphore(1)
    feed = ProjectFeed(database=database, reading=reading, now=utc_now)
    row = await put_session(database)
    async with asyncio.timeout(30):
        async with feed.followed_by(ProjectFollower(Principal(), after="")):
            await is_ready(database, row)
            await reading.acquire()
            news = asyncio.create_task(feed.read_news())
            await asyncio.sleep(0)  # it waits for its place
        reading.release()
        await news
        follower = ProjectFollower(Principal(), after="")
        async with feed.followed_by(follower), aclosing(follower.events(feed)) as events:
            assert (await anext(events)).event == "position"
            await is_ready(database, row, attempt=2)
            await feed.read_news()
            assert '"attempt":2' in str((await anext(events)).data), "the earlier one was before it came"
