"""Heavy readers take nothing from starts of sessions, nor from readers of another project."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, Select, event, text

from services.api.auth.access import Scope
from services.api.health import checks as health
from services.api.limits import reading
from services.api.limits.reading import MOST_OF_A_PROJECT, MOST_READERS
from services.api.transcripts.search import search
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, served
from tests.integration.rows import a_turn, put_session, store_turns
from tests.stack_fixtures.waiting import eventually
from tests.support.keys import put_key

pytestmark = pytest.mark.sql

# Each takes minutes and is true in the end; the database computes it for every matching row.
_LONG = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + tick() FROM n LIMIT 1000000)"
    " SELECT count(*) FROM n) > 0",
    "postgresql": "(SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000) b) > 0",
}
HEAVY, LIGHT = "endless", "short"


@pytest.fixture
def ticks() -> Iterator[list[int]]:
    """Counts what SQLite computes for heavy searches: while one runs, the number grows."""
    counted = [0]

    def tick() -> int:
        time.sleep(0.001)  # others compute too
        counted[0] += 1
        return 1

    def teach(connection: Any, _: Any) -> None:
        if hasattr(connection, "create_function"):
            connection.create_function("tick", 0, tick)

    event.listen(Engine, "connect", teach)
    yield counted
    event.remove(Engine, "connect", teach)


@pytest.fixture
def heavy_searches(ticks: list[int], database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for `HEAVY` takes minutes in the database."""
    plain = search.with_filters
    condition = text(_LONG["sqlite" if database.is_sqlite else "postgresql"])

    def filtered(found: Select[Any], filters: search.Filters) -> Select[Any]:
        chosen = plain(found, filters)
        return chosen.where(condition) if filters.language == HEAVY else chosen

    monkeypatch.setattr(search, "with_filters", filtered)


@pytest.fixture
async def client(ticks: list[int], database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(api_settings(database_url, redis_url, api_auth="keys")) as opened:
        yield opened


async def a_reader(database: Database, project: str) -> dict[str, str]:
    row = await put_session(database, project=project)
    turns = [a_turn(row.id, 1, text="word", language=HEAVY), a_turn(row.id, 2, text="word", language=LIGHT)]
    await store_turns(database, turns)
    return await put_key(database, Scope.TRANSCRIPTS_READ, project=project)


def searches(
    client: httpx.AsyncClient, key: dict[str, str], number: int, language: str = HEAVY
) -> "list[asyncio.Task[httpx.Response]]":
    params = {"q": "word", "language": language}
    return [
        asyncio.create_task(client.get("/v1/transcripts/search", params=params, headers=key))
        for _ in range(number)
    ]


@pytest.mark.usefixtures("heavy_searches")
async def test_searches_of_one_key_take_nothing_from_starts_and_from_other_readers(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TIMEOUT_S", 300)
    monkeypatch.setattr(reading, "WAIT_S", 0.5)
    greedy, other = await a_reader(database, "greedy"), await a_reader(database, "other")
    starter = await put_key(database, Scope.SESSIONS_WRITE, project="third")
    running = searches(client, greedy, 40)
    await eventually(lambda: sum(task.done() for task in running) == 40 - MOST_OF_A_PROJECT)
    for task in running:
        if task.done():
            assert_problem(task.result(), 429, "too_many_reads")
            assert int(task.result().headers["retry-after"]) > 0
    for _ in range(5):
        assert (await client.post("/v1/sessions", json={}, headers=starter)).status_code == 202
    [found] = await asyncio.gather(*searches(client, other, 1, LIGHT))
    assert len(found.json()["results"]) == 1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.usefixtures("heavy_searches")
async def test_what_reads_for_too_long_is_stopped_and_told_why(
    client: httpx.AsyncClient, database: Database, ticks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TIMEOUT_S", 0.3)
    key = await a_reader(database, "greedy")
    for answer in await asyncio.gather(*searches(client, key, MOST_OF_A_PROJECT)):
        assert_problem(answer, 503, "search_too_broad")
    [found] = await asyncio.gather(*searches(client, key, 1, LIGHT))
    assert found.status_code == 200

    async def none_runs() -> bool:
        return await running_searches(database, ticks) == 0

    await eventually(none_runs)


@pytest.mark.usefixtures("heavy_searches")
async def test_whoever_hangs_up_leaves_no_statement_behind(
    client: httpx.AsyncClient, database: Database, ticks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TIMEOUT_S", 300)
    key = await a_reader(database, "greedy")
    running = searches(client, key, MOST_OF_A_PROJECT)

    async def they_run() -> bool:
        return await running_searches(database, ticks) > 0

    await eventually(they_run)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    [found] = await asyncio.gather(*searches(client, key, 1, LIGHT))
    assert found.status_code == 200, found.text

    async def none_runs() -> bool:
        return await running_searches(database, ticks) == 0

    await eventually(none_runs)


async def running_searches(database: Database, ticks: list[int]) -> int:
    """How many heavy searches run in the database; of SQLite, whether any does."""
    if database.is_sqlite:
        before = ticks[0]
        await asyncio.sleep(0.1)
        return int(ticks[0] != before)
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        " AND query LIKE '%generate_series%' AND datname = current_database()"
    )
    async with database.read() as db:
        return int((await db.execute(others)).scalar_one())


async def test_a_crowd_that_asks_whether_we_are_ready_takes_one_connection(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def look(*_: object) -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.2)

    monkeypatch.setattr(health, "pending_migration", look)
    answers = await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks < 10


@pytest.mark.usefixtures("heavy_searches")
async def test_where_many_projects_read_much_who_comes_then_is_told_so(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TIMEOUT_S", 300)
    keys = [await a_reader(database, f"greedy-{n}") for n in range(MOST_READERS // MOST_OF_A_PROJECT)]
    last = await a_reader(database, "last")
    running = [task for key in keys for task in searches(client, key, MOST_OF_A_PROJECT)]
    monkeypatch.setattr(reading, "WAIT_S", 0.5)

    async def refused() -> bool:
        [answer] = await asyncio.gather(*searches(client, last, 1, LIGHT))
        if answer.status_code == 503:
            assert_problem(answer, 503, "reading_busy")
        return answer.status_code == 503

    await eventually(refused)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
