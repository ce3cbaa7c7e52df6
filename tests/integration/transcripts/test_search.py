"""Full-text search: the same words find the same turns on both databases."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import delete, event, text, update
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.transcripts.erase.retention import Housekeeping
from services.api.transcripts.schemas import SearchHit
from services.api.transcripts.search.search import Order
from shared.contracts.sessions import Role
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.erasure_rows import blank
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, store_turns
from tests.integration.transcripts.searching import SAID, found, say, search
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql


async def test_turns_that_an_older_consumer_wrote_are_indexed_by_the_housekeeping(
    database: Database, database_url: str, redis_url: str, redis: Redis
) -> None:
    await say(database, "手机", "erased")
    forget = "UPDATE transcript_item SET transcript_search_words = NULL"
    async with database.write() as db:
        await db.execute(text(forget))
        await db.execute(update(TranscriptItemRow).where(col(TranscriptItemRow.seq) == 2).values(text=""))
    assert await found(database, "手机") == set()
    settings = api_settings(database_url, redis_url)
    keeper = Housekeeping(database=database, redis=redis, settings=settings, holder="h", now=FakeClock())
    assert await keeper.index_missing() == 1
    assert await keeper.index_missing() == 0
    assert await found(database, "手机") == {1}
    assert await found(database, "erased") == set()


async def test_no_word_of_an_erased_text_is_left_in_the_index(database: Database) -> None:
    session_id = await say(database, "手机 secret", "another")
    async with database.write() as db:
        assert await blank(db, [session_id]) == 2
    async with database.read() as db:
        left = await db.scalars(text("SELECT CAST(transcript_search_words AS text) FROM transcript_item"))
        assert set(left) == {""}
    assert await found(database, "手机 OR secret OR another") == set()


async def test_filters_narrow_a_search(database: Database) -> None:
    first = await say(database, "alpha one", "alpha two", agent_name="sales")
    second = await say(database, "alpha three", agent_name="help", role=Role.ASSISTANT, language="de")

    async def sessions(**filters: Any) -> list[tuple[str, int]]:
        return [(hit.session_id, hit.seq) for hit in (await search(database, "alpha", **filters)).results]

    assert set(await sessions()) == {(first, 1), (first, 2), (second, 1)}
    assert await sessions(agent_name="help") == [(second, 1)]
    assert await sessions(agent_name="nobody") == []
    assert await sessions(role=Role.ASSISTANT) == [(second, 1)]
    assert await sessions(language="de") == [(second, 1)]
    assert await sessions(session_id=first) == [(first, 2), (first, 1)]
    assert await sessions(since=T0 + timedelta(seconds=2)) == [(first, 2)]
    assert set(await sessions(until=T0 + timedelta(seconds=2))) == {(first, 1), (second, 1)}
    assert await sessions(session_id=first, role=Role.ASSISTANT) == []


async def test_another_project_is_not_searched(database: Database) -> None:
    session_id = await say(database, "a secret of another project")
    async with database.write() as db:
        await db.execute(update(SessionRow).where(col(SessionRow.id) == session_id).values(project="other"))
    assert (await search(database, "secret")).results == []
    assert len((await search(database, "secret", project="other")).results) == 1


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_hold_every_hit_once_and_in_order(database: Database, order: Order, limit: int) -> None:
    for _ in range(3):
        await say(database, "apple", "apple apple pie", "a pie without", "an apple a day keeps them all away")
    # Turns of the same moment, too.
    await say(database, "apple", "apple", created_at=T0)
    hits: list[SearchHit] = []
    cursor = None
    while True:
        page = await search(database, "apple", order=order, limit=limit, cursor=cursor)
        assert len(page.results) <= limit
        hits += page.results
        assert len(hits) <= 11, "a page repeats what another has shown"
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(hits) == 11
    assert len({(hit.session_id, hit.id) for hit in hits}) == 11
    places = [hit.rank if order is Order.RELEVANCE else hit.created_at.timestamp() for hit in hits]
    assert places == sorted(places, reverse=True)


async def test_a_turn_that_is_about_nothing_else_ranks_above_one_that_mentions_it(database: Database) -> None:
    await say(database, "apple apple apple", "an apple a day keeps the doctor away from all of us here")
    hits = (await search(database, "apple", order=Order.RELEVANCE)).results
    assert [hit.seq for hit in hits] == [1, 2]
    assert hits[0].rank > hits[1].rank


@pytest.mark.parametrize(
    "cursor", ["x", "!!!", "e30", "bnVsbA", "WzEsMiwzXQ", "WyJuZXdlc3QiLCJhIiwiYiIsImMiXQ"]
)
@pytest.mark.parametrize("order", list(Order))
async def test_a_cursor_that_is_none_is_refused(database: Database, cursor: str, order: Order) -> None:
    with pytest.raises(Problem) as refused:
        await search(database, "apple", cursor=cursor, order=order)
    assert refused.value.status == 422


async def test_a_cursor_of_another_order_is_refused(database: Database) -> None:
    await say(database, "apple", "apple")
    cursor = (await search(database, "apple", limit=1)).next_cursor
    with pytest.raises(Problem):
        await search(database, "apple", cursor=cursor, order=Order.RELEVANCE)


async def test_the_index_follows_what_is_changed_and_deleted(database: Database) -> None:
    session_id = await say(database, "alpha", "beta", "gamma")
    async with database.write() as db:
        await db.execute(
            update(TranscriptItemRow).where(col(TranscriptItemRow.seq) == 1).values(text="delta")
        )
        await db.execute(delete(TranscriptItemRow).where(col(TranscriptItemRow.seq) == 2))
    assert await found(database, "alpha OR beta") == set()
    assert await found(database, "delta OR gamma") == {1, 3}
    # A turn that comes twice is in the index once.
    again = a_turn(session_id, 3, text="gamma")
    assert await store_turns(database, [again], now=FakeClock()) == (0, set())
    assert len((await search(database, "gamma")).results) == 1


async def test_numbers_of_rows_that_a_vacuum_changes_do_not_mislead_the_index(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await say(database, *(f"word{n} filler" for n in range(50)))
    async with database.write() as db:
        await db.execute(delete(TranscriptItemRow).where(col(TranscriptItemRow.seq) <= 20))
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute("VACUUM")
    assert await found(database, "word30") == {31}
    assert await found(database, "word3") == set()
    await database.close()


async def test_a_text_too_long_for_the_index_is_stored_all_the_same(database: Database) -> None:
    long = "first " + " ".join(f"w{n}" for n in range(300_000))
    await say(database, long)
    assert await found(database, "first w7") == {1}


async def test_the_sqlite_index_is_whole(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await say(database, *SAID)
    async with database.write() as db:
        await db.execute(update(TranscriptItemRow).values(text=""))
        check = "INSERT INTO transcript_search (transcript_search, rank) VALUES ('integrity-check', 1)"
        await db.execute(text(check))
    await database.close()


async def test_a_hit_names_its_turn_and_shows_it_without_markup(database_url: str, redis_url: str) -> None:
    database = Database(database_url)
    said = "<b>bold</b> & <script>alert('order')</script> my ORDER number"
    session_id = await say(database, said, agent_name="sales", participant_identity="anna")
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get("/v1/transcripts/search", params={"q": '"order number"'})
    await database.close()
    assert answer.status_code == 200
    [hit] = answer.json()["results"]
    assert (hit["session_id"], hit["agent_name"], hit["seq"]) == (session_id, "sales", 1)
    assert hit["participant_identity"] == "anna"
    assert "".join(part["text"] for part in hit["snippet"]) == said
    assert [part["text"] for part in hit["snippet"] if part["hit"]] == ["ORDER", "number"]
    assert answer.json()["next_cursor"] is None


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"q": '"'},
        {"q": "a", "limit": "0"},
        {"q": "a", "limit": "201"},
        {"q": "a", "role": "nobody"},
        {"q": "a", "since": "yesterday"},
        {"q": "a", "since": "2026-01-01T00:00:00"},
        {"q": "a", "since": "0001-01-01T00:00:00+14:00"},
        {"q": "a", "session_id": "\x00"},
        {"q": "a" * 501},
        {"q": "a", "cursor": "x"},
        {"q": "a", "order": "oldest"},
    ],
)
async def test_a_search_that_means_nothing_is_a_422(
    database_url: str, redis_url: str, params: dict[str, str]
) -> None:
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer: httpx.Response = await client.get("/v1/transcripts/search", params=params)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"


async def test_a_search_reads_the_index_and_not_the_table(database: Database) -> None:
    # As many as it takes for PostgreSQL to find reading all of them dearer.
    await say(database, *(f"filler number {n}" for n in range(3000)), "needle")
    if not database.is_sqlite:
        async with database.write() as db:
            await db.execute(text("ANALYZE transcript_item"))
    asked: list[tuple[str, Any]] = []

    def remember(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", remember)
    assert await found(database, '"needle" -nothing', role=Role.USER) == {3001}
    event.remove(database.engine.sync_engine, "before_cursor_execute", remember)
    [(statement, parameters)] = [one for one in asked if "transcript_search" in one[0]]
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    async with database.engine.connect() as connection:
        plan = str((await connection.exec_driver_sql(explain + statement, parameters)).all())
    if database.is_sqlite:
        assert "SCAN transcript_search VIRTUAL TABLE INDEX" in plan
        assert "SCAN transcript_item" not in plan
    else:
        assert "Bitmap Index Scan on transcript_search" in plan
        assert "Seq Scan on transcript_item" not in plan


async def test_a_rank_does_not_move_with_what_another_project_says(database: Database) -> None:
    """Of SQLite's own measure, other turns' lengths and words are a part."""
    await say(database, "apple pie with apple", "an apple a day", "pears and plums and cherries")

    async def ranks() -> list[tuple[str, float]]:
        page = await search(database, "apple OR pie", order=Order.RELEVANCE)
        return [(hit.id, hit.rank) for hit in page.results]

    before = await ranks()
    for number in range(30):
        await say(database, f"apple {number}", "pie " * 200, project="theirs")
    assert await ranks() == before
