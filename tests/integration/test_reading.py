"""What the API reads: pages of sessions without gaps, events and attempts in order."""

import pytest

from services.api.problems import Problem
from services.api.read import get_attempts, get_session, list_sessions, read_events
from shared.contracts.events import AgentReady
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from shared.runtime.sessions import record
from tests.integration.rows import put_session
from tests.unit.making import T0, make_attempt


async def page_through(database: Database, *, limit: int, status: SessionStatus | None = None) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        async with database.read() as db:
            rows, cursor = await list_sessions(db, limit=limit, cursor=cursor, status=status)
        assert len(rows) <= limit
        seen += [row.id for row in rows]
        assert len(seen) == len(set(seen)), "a page repeats what another has shown"
        if cursor is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_pages_hold_every_session_once_the_newest_first(database: Database, limit: int) -> None:
    made = [(await put_session(database)).id for _ in range(6)]
    assert await page_through(database, limit=limit) == made[::-1]


async def test_sessions_that_come_while_one_pages_neither_repeat_nor_hide_others(database: Database) -> None:
    made = [(await put_session(database)).id for _ in range(4)]
    async with database.read() as db:
        first, cursor = await list_sessions(db, limit=2, cursor=None, status=None)
    await put_session(database)
    async with database.read() as db:
        second, end = await list_sessions(db, limit=2, cursor=cursor, status=None)
    assert [row.id for row in [*first, *second]] == made[::-1]
    assert end is None


async def test_pages_of_one_status_hold_only_that(database: Database) -> None:
    failed = [(await put_session(database, status=SessionStatus.FAILED)).id for _ in range(3)]
    for _ in range(3):
        await put_session(database)
    assert await page_through(database, limit=2, status=SessionStatus.FAILED) == failed[::-1]


async def test_no_sessions_are_an_empty_page(database: Database) -> None:
    assert await page_through(database, limit=5) == []


async def test_events_are_read_in_order_and_from_where_one_left_off(database: Database) -> None:
    row = await put_session(database)
    for attempt in range(1, 12):
        async with database.write() as db:
            await record(db, row.id, AgentReady(attempt=attempt), now=T0)
    async with database.read() as db:
        assert [e.sequence for e in await read_events(db, row.id)] == list(range(1, 13))
        rest = await read_events(db, row.id, after=9)
    assert [event.sequence for event in rest] == [10, 11, 12]
    assert rest[0].subject == f"session/{row.id}"
    assert rest[0].event() == AgentReady(attempt=9)


async def test_attempts_are_read_in_order(database: Database) -> None:
    row = await put_session(database, attempt={"number": 2})
    async with database.write() as db:
        db.add_all([make_attempt(row, number=10), make_attempt(row, number=1)])
    async with database.read() as db:
        assert [attempt.number for attempt in await get_attempts(db, row.id)] == [1, 2, 10]


async def test_what_is_not_there_is_a_404(database: Database) -> None:
    with pytest.raises(Problem) as raised:
        async with database.read() as db:
            await get_session(db, "no-such-session")
    assert (raised.value.status, raised.value.code) == (404, "session_not_found")
