"""Everything that grows is bounded: by age, by size, and in what a dead letter holds."""

import json
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from services.api import growth as module
from services.api.growth import ROUND_EVERY, Growth
from services.api.transcripts.erase.erase import erase_session
from services.api.transcripts.erase.retention import Housekeeping
from services.transcripts.dead_letters import DeadLetters
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.causes import Cause
from shared.contracts.events import wrap
from shared.contracts.identifiers import first_id, made_at, new_id
from shared.contracts.keys import DEAD_LETTERS_STREAM, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.tables import ErasureMarkRow
from shared.platform.clock import Clock, utc_now
from shared.platform.database.database import Database
from shared.platform.redis.streams import Entry
from tests.integration.api_client import api_settings
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, put_session, store_turns
from tests.stack_fixtures.waiting import eventually
from tests.support.keys import put_key
from tests.support.stream_entries import entries_of
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

S = SessionStatus
SECRET = "xylophonquarz"
DAY = timedelta(days=1)
NOT_CONNECTED = "sqlite+aiosqlite:///unused.db"  # settings want an address; nobody connects to it


def growth(database: Database, redis: Redis, now: Clock, **settings: Any) -> Growth:
    made = api_settings(NOT_CONNECTED, "redis://127.0.0.1:1", **settings)
    return Growth(database=database, redis=redis, settings=made, holder="test", now=now)


async def put_old(database: Database, *, age: timedelta, status: S = S.ENDED, **row: Any) -> SessionRow:
    return await put_session(
        database, status=status, ended_at=T0 - age, attempt={"number": 1}, next_check_at=None, **row
    )


async def there(database: Database, *rows: SessionRow) -> list[bool]:
    return [bool(await count(database, f"session WHERE id = '{row.id}'")) for row in rows]


async def until_done(keeper: Growth) -> None:
    while await keeper.delete_reservations() + await keeper.delete_sessions() + await keeper.delete_marks():
        pass


async def test_sessions_go_with_all_that_is_told_of_them_when_their_time_is_over(
    database: Database, redis: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SESSIONS", 2)
    old = [await put_old(database, age=91 * DAY, status=each) for each in (S.ENDED, S.FAILED, S.CANCELLED)]
    young = await put_old(database, age=89 * DAY)
    running = await put_session(database, status=S.ACTIVE, requested_at=T0 - 100 * DAY)
    with_turns = await put_old(database, age=91 * DAY)
    await store_turns(database, [a_turn(with_turns.id)])
    keeper = growth(database, redis, clock)
    await until_done(keeper)
    assert await there(database, *old, young, running, with_turns) == [False] * 3 + [True] * 3
    assert await count(database, "session_event") == await count(database, "session") == 3
    assert await count(database, "dispatch_attempt") == 2

    await Housekeeping(
        database=database,
        redis=redis,
        settings=api_settings(NOT_CONNECTED, "redis://127.0.0.1:1", transcript_retention_days=30),
        holder="test",
        now=clock,
    ).delete_old("default")
    clock.forward(seconds=ROUND_EVERY.total_seconds())
    await until_done(keeper)
    assert await there(database, with_turns) == [False], "its turns are gone, and so is it"


async def test_nothing_goes_where_everything_is_kept(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    row = await put_old(database, age=36_000 * DAY)
    await until_done(growth(database, redis, clock, session_retention_days=0))
    assert await there(database, row) == [True]


async def test_reservations_that_came_to_nothing_go_after_a_day(
    database: Database, redis: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SESSIONS", 2)
    await put_key(database, project="ours")
    refused: dict[str, Any] = {"status": S.CANCELLED, "cause": Cause.TOO_MANY_SESSIONS, "project": "ours"}
    long_ago, lately = first_id(T0 - 2 * DAY), first_id(T0 - DAY / 2)
    gone = [
        *[await put_old(database, age=2 * DAY, status=S.EXPIRED) for _ in range(5)],
        await put_old(database, age=2 * DAY, id=f"{long_ago}-7000-8000-000000000001", **refused),
    ]
    stay = [
        await put_old(database, age=DAY / 2, status=S.EXPIRED),
        await put_old(database, age=DAY / 2, id=f"{lately}-7000-8000-000000000002", **refused),
        await put_old(database, age=2 * DAY),
        await put_session(database, status=S.RESERVED, next_check_at=None),
    ]
    await until_done(growth(database, redis, clock))
    assert await there(database, *gone) == [False] * len(gone)
    assert await there(database, *stay) == [True] * len(stay)


async def test_marks_of_erasures_go_after_a_year(database: Database, redis: Redis, clock: FakeClock) -> None:
    async with database.write() as db:
        for days in (366, 364):
            db.add(ErasureMarkRow(project="default", person=str(days), made_at=T0 - days * DAY))
    await until_done(growth(database, redis, clock))
    assert await count(database, "erasure_mark WHERE person = '364'") == 1
    assert await count(database, "erasure_mark") == 1


async def test_it_runs_by_itself(database: Database, redis: Redis, clock: FakeClock) -> None:
    row = await put_old(database, age=91 * DAY)

    async def gone() -> bool:
        return await there(database, row) == [False]

    async with in_background(growth(database, redis, clock).run()):
        await eventually(gone)


async def fill(redis: Redis, stream: str, ages: list[timedelta], size: int = 10) -> None:
    seconds, _ = await redis.time()
    for number, age in enumerate(ages):
        at = int((seconds - age.total_seconds()) * 1000)
        await redis.xadd(stream, {"event": "x" * size}, id=f"{at}-{number}")


async def test_streams_keep_to_their_ages(database: Database, redis: Redis, clock: FakeClock) -> None:
    await fill(redis, EVENTS_STREAM, [2 * DAY, DAY / 2])
    await fill(redis, DEAD_LETTERS_STREAM, [8 * DAY, 4 * DAY, DAY])
    await fill(redis, TURNS_STREAM, [8 * DAY, DAY])
    await growth(database, redis, clock).bound_streams()
    assert await redis.xlen(EVENTS_STREAM) == 1
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 2
    assert await redis.xlen(TURNS_STREAM) == 2, "what is not stored has no age"
    await growth(database, redis, clock, transcript_retention_days=2).bound_streams()
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 1, "no letter outlives the transcripts' retention"


@pytest.mark.parametrize("stream", [EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM, DEAD_LETTERS_STREAM])
async def test_streams_keep_to_their_sizes(
    database: Database, redis: Redis, clock: FakeClock, stream: str
) -> None:
    keeper = growth(database, redis, clock, streams_max_mb=1, dead_letters_max_mb=1)
    await fill(redis, stream, [timedelta()] * 40, size=50_000)
    last = await redis.xrevrange(stream, count=1)
    await keeper.bound_streams()
    size = await redis.memory_usage(stream, samples=0)
    assert size is not None
    assert 0 < size <= 1024 * 1024
    assert await redis.xlen(stream) >= 10, "and no more is cut off than has to be"
    assert await redis.xrevrange(stream, count=1) == last, "the oldest goes first"
    await keeper.bound_streams()


def letters(database: Database, redis: Redis, **settings: Any) -> DeadLetters:
    made = TranscriptsSettings(database_url=NOT_CONNECTED, redis_url="redis://127.0.0.1:1", **settings)
    return DeadLetters(redis=redis, database=database, settings=made, now=utc_now)


def an_entry(session_id: str) -> Entry:
    turn = a_turn(session_id, text=f"My word is {SECRET}", extra={"arguments": SECRET, "name": "f"})
    envelope = wrap(turn, session_id=turn.session_id, source="tests", time=T0)
    return Entry("0-1", {"event": envelope.model_dump_json()})


async def the_letter(redis: Redis) -> dict[str, str]:
    [(_, fields)] = await entries_of(redis, DEAD_LETTERS_STREAM)
    return fields


def redactor(text: str) -> str:
    """Takes the secret out."""
    return text.replace(SECRET, "***")


RESTRICTED: list[dict[str, Any]] = [
    {"transcript_store": "metadata"},
    {"transcript_redactor": f"{__name__}:redactor"},
]


@pytest.mark.parametrize("settings", RESTRICTED)
async def test_a_letter_holds_no_more_than_the_database_may(
    database: Database, redis: Redis, settings: dict[str, Any]
) -> None:
    row = await put_session(database)
    await letters(database, redis, **settings).set_aside(an_entry(row.id), f"refused: quoting {SECRET}")
    letter = await the_letter(redis)
    assert SECRET not in repr(letter)
    assert (letter["reason"], letter["stream"]) == ("refused", TURNS_STREAM)
    assert json.loads(letter["event"])["data"]["session_id"] == row.id, "it can be put back"


@pytest.mark.parametrize("settings", RESTRICTED)
@pytest.mark.parametrize("raw", ["{broken " + SECRET, f'{{"type": "of.later.v9", "data": "{SECRET}"}}'])
async def test_what_is_no_turn_is_set_aside_without_its_content(
    database: Database, redis: Redis, settings: dict[str, Any], raw: str
) -> None:
    entry = Entry("0-1", {"event": raw, "other": SECRET})
    await letters(database, redis, **settings).set_aside(entry, f"malformed: quoting {SECRET}")
    assert await the_letter(redis) == {"stream": TURNS_STREAM, "entry_id": "0-1", "reason": "malformed"}


@pytest.mark.parametrize("of", ["erased session", "deleted session"])
async def test_a_letter_of_what_may_be_kept_no_longer_has_no_text(
    database: Database, redis: Redis, of: str
) -> None:
    session_id = f"{first_id(utc_now() - 100 * DAY)}-7000-8000-000000000001"
    if of == "erased session":
        row = await put_session(database)
        session_id = row.id
        await erase_session(row.id, project="default", database=database, redis=redis, now=utc_now)
    await letters(database, redis).set_aside(an_entry(session_id), "refused: it")
    assert SECRET not in repr(await the_letter(redis))


async def test_where_text_is_stored_a_letter_is_the_entry_as_it_came(
    database: Database, redis: Redis
) -> None:
    for session_id in ((await put_session(database)).id, new_id()):
        await redis.delete(DEAD_LETTERS_STREAM)
        entry = an_entry(session_id)
        await letters(database, redis).set_aside(entry, "refused: it")
        assert (await the_letter(redis))["event"] == entry.fields["event"]


async def test_letters_of_a_session_go_with_its_retention(database: Database, redis: Redis) -> None:
    ended = utc_now() - 60 * DAY
    row = await put_session(database, status=S.ENDED, ended_at=ended)
    await store_turns(database, [a_turn(row.id)])
    await letters(database, redis).set_aside(an_entry(row.id), "refused: it")
    settings = api_settings(NOT_CONNECTED, "redis://127.0.0.1:1", transcript_retention_days=30)
    keeper = Housekeeping(database=database, redis=redis, settings=settings, holder="test", now=utc_now)
    while await keeper.delete_old("default"):
        pass
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    assert await redis.keys("rollcall:erased:*") == [], "no marker for each of so many"


def test_an_id_tells_when_it_was_made() -> None:
    before, session_id, after = utc_now() - timedelta(seconds=1), new_id(), utc_now() + timedelta(seconds=1)
    made = made_at(session_id)
    assert made is not None
    assert before < made < after
    assert first_id(before) < session_id < first_id(after)
    assert made_at("no-such-session") is None
