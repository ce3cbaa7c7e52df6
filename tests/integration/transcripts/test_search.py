"""Full-text search: the same words find the same turns on both databases."""

import random
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import delete, event, text, update
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.transcripts.erase.retention import Housekeeping
from services.api.transcripts.schemas import SearchHit, SearchPage
from services.api.transcripts.search.search import Filters, Order, search_turns
from shared.contracts.sessions import Role
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.erasure_rows import blank
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import T0, FakeClock


async def say(
    database: Database, *texts: str, agent_name: str = "agent", project: str = "default", **fields: Any
) -> str:
    """Store a session in which these turns were said, a second apart; return its id."""
    row = await put_session(database, agent_name=agent_name, project=project)
    turns = [
        a_turn(row.id, seq, text=said, **{"created_at": T0 + timedelta(seconds=seq), **fields})
        for seq, said in enumerate(texts, 1)
    ]
    await store_turns(database, turns, now=FakeClock())
    return row.id


async def search(
    database: Database,
    query: str,
    *,
    order: Order = Order.NEWEST,
    limit: int = 50,
    cursor: str | None = None,
    project: str = "default",
    **filters: Any,
) -> SearchPage:
    return await search_turns(
        database,
        query,
        filters=Filters(**filters),
        order=order,
        limit=limit,
        cursor=cursor,
        project=project,
    )


async def found(database: Database, query: str, **options: Any) -> set[int]:
    return {hit.seq for hit in (await search(database, query, **options)).results}


SAID = (
    "My order number is 4711, and it has not arrived.",  # 1
    "I am sorry. Let me look up order 4711 for you.",  # 2
    "Don't you see it? It was sent to user@example.com!",  # 3
    "Ein CAFÉ in der Straße, bitte; naïve Ärzte.",  # 4
    'look_up_order({"number": 4711})',  # 5
    "order OR not: that is the question",  # 6
    "日本語 テスト",  # 7
    "hello🙂world — “curly” quotes… and state-of-the-art",  # 8
    "हिन्दी भाषा, ภาษาไทย ο Σίσυφος",  # 9
)
# What a word is must not depend on who takes the text apart.
SAID_IN_MANY_SCRIPTS = (
    "我的iPhone手机坏了，请帮我。",  # 1
    "東京タワーに行きたいです。ｶﾞｲﾄﾞ",  # 2
    "ผมอยากกินน้ำเย็นครับ",  # 3
    "कि",  # 4
    "की",  # 5
    "STRASSE İstanbul ﬁnance Ⅳ １２３",  # 6
    "cafe\u0301 naïve",  # 7
    "학교에서 만나요",  # 8
    "نمی‌خواهم co\u00adoperate",  # 9
    "ΟΔΥΣΣΕΥΣ 👩‍👩‍👧 1️⃣ ½",  # 10
    "ខ្ញុំស្រឡាញ់កម្ពុជា",  # 11
    "𠮷野家で会う",  # 12
)


@pytest.mark.parametrize(
    ("query", "turns"),
    [
        ("手机", {1}),
        ("机", {1}),
        ("机手", set()),
        ("iphone", {1}),
        ("iPhone手机", {1}),
        ("ＩＰＨＯＮＥ", {1}),
        ("手机 -坏了", set()),
        ("帮我 OR タワー", {1, 2}),
        ('"坏了 请帮"', {1}),
        ("東京", {2}),
        ("京タ", {2}),
        ("ガイド", {2}),
        ("ﾀﾜｰ", {2}),
        ("กิน", {3}),
        ("กน", set()),
        ("น้ำเย็น", {3}),
        ("น้ํา", {3}),
        ("कि", {4}),
        ("की", {5}),
        ("क", set()),
        ("straße", {6}),
        ("istanbul", {6}),
        ("İSTANBUL", {6}),
        ("finance", {6}),
        ("iv", {6}),
        ("123", {6}),
        ("café", {7}),
        ("CAFE\u0301", {7}),
        ("cafe", set()),
        ("학교", {8}),
        ("만나요", {8}),
        ("한교", set()),
        ("نمیخواهم", {9}),
        ("cooperate", {9}),
        ("οδυσσεύς", set()),
        ("οδυσσευς", {10}),
        ("1", {10}),
        ("កម្ពុជា", {11}),
        ("𠮷野", {12}),
        ("野家", {12}),
    ],
)
async def test_a_word_means_the_same_in_every_script_on_both_databases(
    database: Database, query: str, turns: set[int]
) -> None:
    await say(database, *SAID_IN_MANY_SCRIPTS)
    assert await found(database, query) == turns


async def test_what_is_found_is_shown_as_it_was_written(database: Database) -> None:
    await say(database, "我的iPhone手机坏了", "ein Gruß aus der STRASSE", "½ ｶﾞｲﾄﾞ")
    for query, hits in (
        ("手机", ["手机"]),
        ("iphone手机", ["iPhone手机"]),
        ("GRUSS strasse", ["Gruß", "STRASSE"]),
    ):
        [hit] = (await search(database, query)).results
        assert [part.text for part in hit.snippet if part.hit] == hits
    [hit] = (await search(database, "1 ガイド")).results
    assert "".join(part.text for part in hit.snippet) == "½ ｶﾞｲﾄﾞ"
    assert [part.text for part in hit.snippet if part.hit] == ["½", "ｶﾞｲﾄﾞ"]


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


@pytest.mark.parametrize(
    ("query", "turns"),
    [
        ("order", {1, 2, 5, 6}),
        ("ORDER", {1, 2, 5, 6}),
        ("order 4711", {1, 2, 5}),
        ("4711 order", {1, 2, 5}),
        ('"order 4711"', {2}),
        ('"order number"', {1, 5}),
        ("order -4711", {6}),
        ('order -"let me"', {1, 5, 6}),
        ("arrived OR sorry", {1, 2}),
        ("arrived OR sorry order", {1, 2}),
        ("order number OR sorry", {1, 2, 5}),
        ("order -number OR sent", {2, 3, 6}),
        ('"OR" question', {6}),
        ("or question", {6}),
        ("not", {1, 6}),
        ("and", {1, 8}),
        ("NOT arrived", {1}),
        ("NEAR", set()),
        ("don't", {3}),
        ("don’t", {3}),
        ('"don t"', {3}),
        ("example", {3}),
        ("user@example.com", {3}),
        ("café", {4}),
        ("CAFÉ", {4}),
        ("cafe", set()),
        ("straße ärzte", {4}),
        ("ÄRZTE", {4}),
        ("look_up_order", {2, 5}),
        ("order({", {1, 2, 5, 6}),
        ("look up order", {2, 5}),
        ("日本語", {7}),
        ("हिन्दी", {9}),
        ("हिन्दी भाषा", {9}),
        ("Σίσυφος", {9}),
        ("ภาษาไทย", {9}),
        ("world", {8}),
        ("curly quotes", {8}),
        ("state-of-the-art", {8}),
        ("art", {8}),
        ("text:order", set()),
        ("ord*", set()),
        ("ord", set()),
        ("order)", {1, 2, 5, 6}),
        ("a:b'c\\d & | ! <-> *", set()),
        ("- order -", {1, 2, 5, 6}),
        ("\x00order\ud800", {1, 2, 5, 6}),
        ("nothing of the kind", set()),
    ],
)
async def test_a_query_means_the_same_on_both_databases(
    database: Database, query: str, turns: set[int]
) -> None:
    await say(database, *SAID)
    assert await found(database, query) == turns


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "no word"),
        ("   ", "no word"),
        ("!?… -", "no word"),
        ('"', "quotation mark"),
        ('order "number', "quotation mark"),
        ("-order", "unwanted"),
        ("order OR -number", "unwanted"),
        ("OR order", "OR must stand"),
        ("order OR", "OR must stand"),
        ("order OR OR number", "OR must stand"),
        (" ".join(f"w{n}" for n in range(33)), "at most 32"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_with_the_reason(
    database: Database, query: str, reason: str
) -> None:
    with pytest.raises(Problem) as refused:
        await search(database, query)
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert reason in refused.value.detail


async def test_both_databases_agree_on_queries_that_nobody_has_thought_of(
    sqlite_url: str, postgres_url: str
) -> None:
    chance = random.Random(5)
    words = [
        "red",
        "Blue",
        "café",
        "3",
        "don't",
        "x-y",
        "a_b",
        "übel",
        "it’s",
        "e2e",
        "1.5",
        "z@q.de",
        "手机坏",
        "कि",
        "की",
        "น้ำ",
        "ガ",
        "ß",
    ]
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 7))) for _ in range(120)]

    def term() -> str:
        several = chance.choices(words, k=chance.randint(1, 2))
        return chance.choice(["", "", "-"]) + chance.choice([several[0], f'"{" ".join(several)}"'])

    queries = [" ".join(chance.choices([term(), term(), "OR"], k=chance.randint(1, 5))) for _ in range(300)]
    answers: list[list[set[int] | str]] = []
    for url in (sqlite_url, postgres_url):
        database = Database(url)
        await say(database, *texts)
        answers.append([await _answer(database, query) for query in queries])
        await database.close()
    assert answers[0] == answers[1]
    assert sum(isinstance(answer, set) and bool(answer) for answer in answers[0]) > 50


async def _answer(database: Database, query: str) -> set[int] | str:
    try:
        return await found(database, query, limit=200)
    except Problem as problem:
        return problem.detail


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
