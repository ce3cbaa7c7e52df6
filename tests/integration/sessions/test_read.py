"""What the API reads: pages of sessions without gaps, events and attempts in order."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from services.api.errors.problems import Problem
from services.api.sessions.read import get_attempts, get_session, list_sessions, read_events
from shared.contracts.causes import Cause
from shared.contracts.events import AgentReady
from shared.contracts.sessions import SessionStatus
from shared.core.admission.wait_queue import place_in_line
from shared.core.sessions.repository import claim, record
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.rows import put_session
from tests.unit.making import T0, make_attempt

pytestmark = pytest.mark.sql


async def page_through(database: Database, *, limit: int, status: SessionStatus | None = None) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        async with database.read() as db:
            rows, cursor = await list_sessions(
                db, project="default", limit=limit, cursor=cursor, status=status
            )
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
        first, cursor = await list_sessions(db, project="default", limit=2)
    await put_session(database)
    async with database.read() as db:
        second, end = await list_sessions(db, project="default", limit=2, cursor=cursor)
    assert [row.id for row in [*first, *second]] == made[::-1]
    assert end is None


async def test_pages_of_one_status_hold_only_that(database: Database) -> None:
    failed = [(await put_session(database, status=SessionStatus.FAILED)).id for _ in range(3)]
    for _ in range(3):
        await put_session(database)
    assert await page_through(database, limit=2, status=SessionStatus.FAILED) == failed[::-1]


async def test_no_sessions_are_an_empty_page(database: Database) -> None:
    assert await page_through(database, limit=5) == []


async def places(database: Database, rows: list[SessionRow]) -> list[int | None]:
    async with database.read() as db:
        return [await place_in_line(db, row) for row in rows]


async def park(database: Database, **row: Any) -> SessionRow:
    values = {"waiting_for": Cause.WORKERS_AT_CAPACITY, "claimed_until": T0 + timedelta(seconds=15), **row}
    return await put_session(database, **values)


async def test_the_line_is_in_the_order_of_the_requests(database: Database) -> None:
    rows = [await park(database) for _ in range(4)]
    assert await places(database, rows) == [1, 2, 3, 4]


async def test_whoever_is_admitted_is_no_longer_in_front(database: Database) -> None:
    rows = [await park(database) for _ in range(3)]
    async with database.write() as db:
        assert await claim(db, rows[0], waiting_for=None, claimed_until=None)
    assert await places(database, rows) == [None, 1, 2]


async def test_only_those_who_wait_for_the_same_workers_are_in_front(database: Database) -> None:
    await park(database, agent_name="other")
    await put_session(database)  # on its way
    await park(database, status=SessionStatus.FAILED)  # what a bug left behind
    await put_session(database, status=SessionStatus.ACTIVE)
    again = await park(database, status=SessionStatus.DISPATCHING)
    draining = await park(database, waiting_for=Cause.WORKER_DRAINING)
    # It waits for LiveKit first, and then as everybody, in the same order.
    cut_off = await park(database, waiting_for=Cause.LIVEKIT_UNREACHABLE)
    last = await park(database)
    assert await places(database, [again, draining, cut_off, last]) == [1, 2, None, 4]


@pytest.mark.parametrize(
    "row",
    [
        {"waiting_for": None},
        {"waiting_for": Cause.NO_WORKER_REGISTERED},
        {"waiting_for": Cause.LIVEKIT_UNREACHABLE},
        {"status": SessionStatus.FAILED},
        {"status": SessionStatus.ACTIVE},
    ],
)
async def test_who_does_not_wait_for_a_free_slot_has_no_place(
    database: Database, row: dict[str, Any]
) -> None:
    await park(database)
    assert await places(database, [await park(database, **row)]) == [None]


async def test_a_place_is_found_by_the_index_of_the_line(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    row = await park(database)
    asked: list[tuple[str, Any]] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    assert await places(database, [row]) == [1]
    statement, parameters = asked[-1]
    async with database.engine.connect() as connection:
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)).all()
    assert "ix_session_waiting" in str(plan)
    await database.close()


async def test_events_are_read_in_order_and_from_where_one_left_off(database: Database) -> None:
    row = await put_session(database)
    for attempt in range(1, 12):
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=attempt), now=T0)
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
