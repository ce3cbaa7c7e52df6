"""Every answer about a transcript shows one moment, even while its turns are being stored."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from services.api.live.session_feed import SessionFeed
from services.api.transcripts.read import completeness
from services.api.transcripts.read.conversation import read_conversation
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import T0

pytestmark = pytest.mark.sql

TURNS = (1, 2, 3)


@pytest.fixture
async def ended(database: Database) -> SessionRow:
    """A call with three turns, as its agent says; the second one is not stored yet."""
    said = {"number": 1, "connected_at": T0, "counted_at": T0, "expected_turns": len(TURNS)}
    # It ended just now: a stream waits for its last turns.
    row = await put_session(
        database, status=SessionStatus.ENDED, active_at=T0, ended_at=utc_now(), attempt=said
    )
    await store_turns(database, [a_turn(row.id, 1), a_turn(row.id, 3)])
    return row


@pytest.fixture
def stored_meanwhile(
    database: Database, ended: SessionRow, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The second turn is stored between two statements of who looks: after the turns were counted."""
    count: Callable[..., Awaitable[Any]] = completeness.count_stored
    late = [a_turn(ended.id, 2)]

    async def count_and_store(*args: Any) -> Any:
        counted = await count(*args)
        while late:
            await store_turns(database, [late.pop()])
        return counted

    monkeypatch.setattr(completeness, "count_stored", count_and_store)
    yield
    assert not late


async def test_a_snapshot_sees_what_its_first_statement_saw(database: Database, ended: SessionRow) -> None:
    count = select(func.count()).select_from(TranscriptItemRow)
    async with database.snapshot() as db:
        assert await db.scalar(count) == 2
        await store_turns(database, [a_turn(ended.id, 2)])
        assert await db.scalar(count) == 2
    async with database.snapshot() as db:
        assert await db.scalar(count) == 3


@pytest.mark.usefixtures("stored_meanwhile")
async def test_a_missing_turn_that_comes_as_the_transcript_is_read_is_of_the_next_reading(
    database: Database, ended: SessionRow
) -> None:
    async def read() -> tuple[list[int], list[int]]:
        async with database.snapshot() as db:
            found = await read_conversation(
                db, ended.id, project="default", limit=10, after_seq=0, now=utc_now()
            )
        return [turn.seq for turn in found.items], found.missing

    assert await read() == ([1, 3], [2])
    assert await read() == ([1, 2, 3], [])


async def test_a_stream_is_not_over_before_its_last_turn_was_found(
    database: Database, ended: SessionRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = SessionFeed.find_turns
    late = [a_turn(ended.id, 2)]

    async def find_and_store(self: SessionFeed, *args: Any) -> dict[str, int]:
        found = await find(self, *args)
        while late:
            await store_turns(database, [late.pop()])
        return found

    monkeypatch.setattr(SessionFeed, "find_turns", find_and_store)
    feed = SessionFeed(ended.id, database=database, reading=asyncio.Semaphore(1), now=utc_now)
    await feed.read_news()
    assert (feed.turns, feed.over) == (2, False)
    await feed.read_news()
    assert (feed.turns, feed.over) == (3, True)
