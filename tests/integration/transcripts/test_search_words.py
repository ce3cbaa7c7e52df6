"""Full-text search: a word, and a query, mean the same on both databases."""

import random

import pytest

from services.api.errors.problems import Problem
from shared.platform.database.database import Database
from tests.integration.transcripts.searching import SAID, found, say, search

pytestmark = pytest.mark.sql

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
        ("-order", "a word without -"),
        ("order OR -number", "a word without -"),
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
