"""An erasure removes what was said from everywhere, and wins over a late turn."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import make_url, select, text
from sqlmodel import col

from devstack.process import Process
from services.api.errors.problems import Problem
from services.api.transcripts.erase.erase import RETRY, SECOND_LOOK, erase_participant, erase_session
from services.api.transcripts.erase.retention import Housekeeping
from services.api.transcripts.search.search import Filters, Order, search_turns
from services.transcripts.redact import NOT_REDACTED
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.contracts.sessions import Role
from shared.core.transcripts.erasure import MARKER_TTL, is_erased, without_text
from shared.core.transcripts.tables import TranscriptItemRow
from shared.core.workers.history import read_history, write_history
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import Entry, dead_letter, publish
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, get_session, put_session, store_turns
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

SECRET = "xylophonquarz"
NOT_CONNECTED = "sqlite+aiosqlite:///unused.db"  # settings want an address; nobody connects to it


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def store(database: Database, *turns: TurnFinished) -> None:
    await store_turns(database, turns, now=FakeClock())


async def put_call(database: Database, *, said: str = SECRET, **row: Any) -> str:
    session = await put_session(database, **row)
    await store(
        database,
        a_turn(session.id, 1, text=f"My word is {said}", participant_identity=session.participant_identity),
        a_turn(session.id, 2, role=Role.ASSISTANT, text=f"So it is {said}", metrics={"e2e_latency": 0.5}),
        a_turn(session.id, 3, role=Role.TOOL, text=f"f({said})", extra={"arguments": said, "name": "f"}),
    )
    return session.id


async def turns_of(database: Database, session_id: str) -> list[TranscriptItemRow]:
    async with database.read() as db:
        query = select(TranscriptItemRow).where(col(TranscriptItemRow.session_id) == session_id)
        return list((await db.scalars(query.order_by(col(TranscriptItemRow.seq)))).all())


async def hits(database: Database, query: str = SECRET) -> int:
    page = await search_turns(
        database, query, filters=Filters(), order=Order.NEWEST, limit=50, cursor=None, project="default"
    )
    return len(page.results)


def envelope(turn: TurnFinished) -> Any:
    return wrap(turn, session_id=turn.session_id, source="test", time=T0)


async def said_in_redis(redis: Redis) -> bool:
    streams = [await redis.xrange(stream) for stream in (TURNS_STREAM, DEAD_LETTERS_STREAM)]
    histories = [await redis.get(key) for key in await redis.keys("rollcall:history:*")]
    return SECRET in repr(streams) + repr(histories)


async def test_what_was_said_is_gone_and_what_happened_stays(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    session_id, other = await put_call(database), await put_call(database, said="unharmed")
    before = await turns_of(database, session_id)
    erased = await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    assert (erased.session_ids, erased.turns, erased.pending) == ([session_id], 3, [])
    after = await turns_of(database, session_id)
    assert [(turn.text, turn.extra) for turn in after] == [("", {})] * 3
    kept = ("seq", "role", "created_at", "metrics", "stored_at", "item_id")
    for name in kept:
        assert [getattr(turn, name) for turn in after] == [getattr(turn, name) for turn in before]
    assert (await get_session(database, session_id)).transcript_erased_at == T0
    assert await hits(database) == 0
    assert await hits(database, "unharmed") == 3
    assert (await get_session(database, other)).transcript_erased_at is None


async def test_erasing_twice_does_no_harm_and_keeps_the_first_time(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    session_id = await put_call(database)
    await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    clock.forward(hours=1)
    assert (
        await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    ).turns == 0
    assert (await get_session(database, session_id)).transcript_erased_at == T0


async def test_there_must_be_a_session_to_erase(database: Database, redis: Redis, clock: FakeClock) -> None:
    with pytest.raises(Problem) as refused:
        await erase_session("nobody", project="default", database=database, redis=redis, now=clock)
    assert refused.value.status == 404


async def test_streams_dead_letters_and_the_history_lose_what_belongs_to_the_session_and_nothing_else(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    session_id, other = await put_call(database), await put_call(database, said="unharmed")
    theirs = [a_turn(session_id, seq, text=SECRET) for seq in range(4, 704)]
    others = [a_turn(other, seq, text="unharmed") for seq in range(4, 704)]
    await publish(
        redis, TURNS_STREAM, [envelope(turn) for pair in zip(theirs, others, strict=True) for turn in pair]
    )
    for turn in (theirs[0], others[0]):
        entry = Entry("0-1", {"event": envelope(turn).model_dump_json()})
        await dead_letter(redis, TURNS_STREAM, entry, "refused")
    await dead_letter(redis, TURNS_STREAM, Entry("0-2", {"event": f"{{{session_id} {SECRET}"}), "malformed")
    past = PastTurn(item_id="i", kind="message", role=Role.USER, text=SECRET, created_at=T0)
    await write_history(redis, session_id, [past])
    await write_history(redis, other, [past.model_copy(update={"text": "unharmed"})])

    erased = await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    assert (erased.stream_entries, erased.dead_letters) == (700, 2)
    assert not await said_in_redis(redis)
    assert await redis.xlen(TURNS_STREAM) == 700
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 1
    assert await read_history(redis, session_id) is None
    assert await read_history(redis, other) is not None


async def test_agent_workers_are_told(database: Database, redis: Redis, clock: FakeClock) -> None:
    session_id, other = await put_call(database), await put_call(database)
    await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    assert await is_erased(redis, session_id)
    assert not await is_erased(redis, other)
    [marker] = await redis.keys(f"*{session_id}")
    assert 0 < await redis.ttl(marker) <= MARKER_TTL.total_seconds()
    assert (await get_session(database, session_id)).transcript_erased_at is not None
    assert (await get_session(database, other)).transcript_erased_at is None


async def test_a_participant_is_erased_from_every_session_it_was_in(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    asked = await put_call(database, participant_identity="anna")
    visited = await put_call(database, participant_identity="ben")
    await store(database, a_turn(visited, 4, text="I am here too", participant_identity="anna"))
    apart = await put_call(database, participant_identity="anna-2", said="unharmed")
    stray = a_turn("unknown-session", 1, text=SECRET, participant_identity="anna")
    entry = Entry("0-1", {"event": envelope(stray).model_dump_json()})
    await dead_letter(redis, TURNS_STREAM, entry, "unknown_session")

    erased = await erase_participant("anna", project="default", database=database, redis=redis, now=clock)
    assert set(erased.session_ids) == {asked, visited}
    assert (erased.turns, erased.dead_letters) == (7, 1)
    assert await hits(database) == 0
    assert await hits(database, "unharmed") == 3
    assert [turn.text != "" for turn in await turns_of(database, apart)] == [True] * 3


async def test_a_participant_that_nobody_knows_is_erased_from_nothing(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    erased = await erase_participant("nobody", project="default", database=database, redis=redis, now=clock)
    assert erased.model_dump() == {
        "session_ids": [],
        "turns": 0,
        "stream_entries": 0,
        "dead_letters": 0,
        "pending": [],
    }


@pytest.fixture
async def housekeeping(database: Database, redis: Redis, clock: FakeClock) -> Housekeeping:
    return _housekeeping(database, redis, clock)


def _housekeeping(database: Database, redis: Redis, clock: FakeClock) -> Housekeeping:
    settings = api_settings(NOT_CONNECTED, "redis://127.0.0.1:1")
    return Housekeeping(database=database, redis=redis, settings=settings, holder="test", now=clock)


async def test_a_turn_that_was_on_its_way_is_erased_at_the_second_look(
    database: Database, redis: Redis, clock: FakeClock, housekeeping: Housekeeping
) -> None:
    session_id = await put_call(database)
    await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    # A consumer had read the row before, and commits and publishes now.
    await store(database, a_turn(session_id, 4, text=SECRET))
    await publish(redis, TURNS_STREAM, [envelope(a_turn(session_id, 5, text=SECRET))])
    assert await housekeeping.erase_again() == 0
    clock.forward(seconds=SECOND_LOOK.total_seconds())
    assert await housekeeping.erase_again() == 1
    assert await hits(database) == 0
    assert not await said_in_redis(redis)
    clock.forward(days=1)
    assert await housekeeping.erase_again() == 0


async def test_a_redis_that_is_away_is_erased_as_soon_as_it_is_back(
    database: Database, own_redis: tuple[str, Process], clock: FakeClock
) -> None:
    url, process = own_redis
    client = connect_redis(url)
    session_id = await put_call(database)
    await publish(client, TURNS_STREAM, [envelope(a_turn(session_id, 5, text=SECRET))])
    housekeeping = _housekeeping(database, client, clock)
    await process.stop()

    erased = await erase_session(session_id, project="default", database=database, redis=client, now=clock)
    assert (erased.turns, erased.pending) == (3, ["redis"])
    clock.forward(seconds=RETRY.total_seconds())
    assert await housekeeping.erase_again() == 1

    await process.start()
    clock.forward(seconds=RETRY.total_seconds())
    assert await housekeeping.erase_again() == 1
    assert not await said_in_redis(client)
    clock.forward(days=1)
    assert await housekeeping.erase_again() == 0
    await client.aclose()


@pytest.fixture
async def sqlite_file(sqlite_url: str) -> AsyncIterator[tuple[Database, Path]]:
    database = Database(sqlite_url)
    yield database, Path(make_url(sqlite_url).database or "")
    await database.close()


async def test_not_a_byte_of_it_is_left_in_the_files_of_sqlite(
    sqlite_file: tuple[Database, Path], redis: Redis, clock: FakeClock
) -> None:
    database, file = sqlite_file

    def left() -> bool:
        files = [file, *file.parent.glob(f"{file.name}-*")]
        return any(re.search(SECRET[1:].encode(), found.read_bytes()) for found in files)

    session_id = await put_call(database)
    # More of the same, so that the index has merged segments and given up pages.
    for seq in range(4, 60):
        await store(database, a_turn(session_id, seq, text=f"{SECRET} {'word ' * 200} {seq}"))
    await put_call(database, said="unharmed")
    assert left()
    erased = await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    assert erased.pending == []
    assert not left()


async def test_a_reader_that_keeps_the_log_makes_the_erasure_incomplete_until_it_is_gone(
    sqlite_file: tuple[Database, Path], redis: Redis, clock: FakeClock
) -> None:
    database, _ = sqlite_file
    session_id = await put_call(database)
    async with database.snapshot() as reader:
        await reader.execute(text("SELECT count(*) FROM transcript_item"))
        erased = await erase_session(session_id, project="default", database=database, redis=redis, now=clock)
    assert erased.pending == ["database file"]
    clock.forward(seconds=RETRY.total_seconds())
    assert await _housekeeping(database, redis, clock).erase_again() == 1
    clock.forward(days=1)
    assert await _housekeeping(database, redis, clock).erase_again() == 0


def test_what_remains_of_a_turn_names_things_and_says_nothing() -> None:
    extra = {"call_id": "c", "name": "f", "arguments": SECRET, "output": SECRET, "unknown": SECRET}
    bare = without_text(a_turn("s", 1, text=SECRET, extra=extra, metrics={"e2e_latency": 1.0}))
    assert SECRET not in bare.model_dump_json()
    assert bare.extra == {"call_id": "c", "name": "f"}
    assert bare.metrics == {"e2e_latency": 1.0}
    assert NOT_REDACTED


async def test_the_routes_erase_and_tell_what_they_removed(
    database: Database, database_url: str, redis_url: str
) -> None:
    one = await put_call(database, participant_identity="anna")
    two = await put_call(database, participant_identity="ben")
    async with in_process(api_settings(database_url, redis_url)) as client:
        by_session = await client.delete(f"/v1/sessions/{one}/transcript")
        by_name = await client.post("/v1/erasures", json={"participant_identity": "ben"})
        missing = await client.delete("/v1/sessions/nobody/transcript")
        malformed = await client.post("/v1/erasures", json={"participant_identity": "a\x00b"})
        transcript = (await client.get(f"/v1/sessions/{one}/transcript")).json()
        export = await client.get(f"/v1/sessions/{one}/transcript", params={"format": "jsonl"})
    assert by_session.status_code == by_name.status_code == 200
    assert by_session.json()["turns"] == by_name.json()["turns"] == 3
    assert by_name.json()["session_ids"] == [two]
    assert (missing.status_code, malformed.status_code) == (404, 422)
    assert transcript["erased_at"] is not None
    assert [item["text"] for item in transcript["items"]] == ["", "", ""]
    assert transcript["summary"]["turns"] == 3
    assert SECRET not in export.text
