"""How SQLite is used: few calls on a connection's thread, one writer after the other, nothing left behind."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.platform.database import sqlite
from shared.platform.database.database import Database
from shared.platform.database.sqlite import SqliteConnection

MANY = 1200


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
async def numbers(file: Path) -> AsyncIterator[Database]:
    """A database with an empty table."""
    database = Database(f"sqlite+aiosqlite:///{file}")
    async with database.write() as db:
        await db.execute(text("CREATE TABLE number (value INTEGER)"))
    yield database
    await database.close()


async def insert(database: Database, *values: int) -> None:
    async with database.write() as db:
        for value in values:
            await db.execute(text("INSERT INTO number VALUES (:value)"), {"value": value})


async def values(database: Database) -> list[int]:
    async with database.read() as db:
        return list((await db.scalars(text("SELECT value FROM number ORDER BY value"))).all())


async def test_a_statement_is_one_call_on_the_thread_and_so_is_a_commit(
    numbers: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(numbers, 1)  # the connection is there
    calls = 0
    call = SqliteConnection._execute

    async def counted(self: SqliteConnection, *args: object) -> object:
        nonlocal calls
        calls += 1
        return await call(self, *args)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(SqliteConnection, "_execute", counted)
    assert await values(numbers) == [1]
    assert calls == 1
    calls = 0
    await insert(numbers, 2, 3)
    assert calls == 3
    calls = 0
    await numbers.change(text("DELETE FROM number"))
    assert calls == 1


async def test_a_long_answer_is_complete(numbers: Database) -> None:
    await insert(numbers, *range(MANY))
    assert await values(numbers) == list(range(MANY))
    async with numbers.read() as db:
        rows = await db.stream(text("SELECT value FROM number ORDER BY value"))
        assert [value async for (value,) in rows] == list(range(MANY))
        first = await db.stream(text("SELECT value FROM number ORDER BY value"))
        assert await anext(aiter(first)) == (0,)
        await first.close()
    await insert(numbers, MANY)  # the broken off answer holds nothing up


async def test_a_writer_that_is_stopped_while_it_waits_leaves_nothing_behind(
    numbers: Database, file: Path
) -> None:
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    stopped = asyncio.create_task(insert(numbers, 1))
    done, _ = await asyncio.wait([stopped], timeout=0.2)  # it waits for the other process's write
    assert not done
    stopped.cancel()
    other.rollback()
    await asyncio.wait([stopped])
    assert stopped.cancelled()
    await insert(numbers, 2)
    assert await values(numbers) == [2]
    other.execute("BEGIN IMMEDIATE")
    other.close()


async def test_a_transaction_that_fails_is_undone(numbers: Database) -> None:
    async def fail() -> None:
        async with numbers.write() as db:
            await db.execute(text("INSERT INTO number VALUES (1)"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await fail()
    assert await values(numbers) == []


async def test_writers_of_a_process_write_in_the_order_in_which_they_came(numbers: Database) -> None:
    order: list[int] = []

    async def write(number: int) -> None:
        async with numbers.write() as db:
            await db.execute(text("INSERT INTO number VALUES (:value)"), {"value": number})
            order.append(number)

    await asyncio.gather(*map(write, range(20)))
    assert order == list(range(20))
    assert await values(numbers) == list(range(20))


async def test_a_writer_whose_turn_does_not_come_says_so(
    numbers: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
    holds, may_end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with numbers.write() as db:
            await db.execute(text("INSERT INTO number VALUES (1)"))
            holds.set()
            await may_end.wait()

    holder = asyncio.create_task(hold())
    await holds.wait()
    with pytest.raises(PoolTimeoutError, match=r"other writers of this process took longer than 0\.05 s"):
        await insert(numbers, 2)
    may_end.set()
    await holder
    assert await values(numbers) == [1]
