"""Turns are deleted when their time is over, a few at a time, and not before."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from services.api.transcripts.erase import retention
from services.api.transcripts.erase.retention import Housekeeping
from services.api.transcripts.read.conversation import read_conversation
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from shared.platform.lease import LeaseRow
from tests.integration.api_client import api_settings
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, get_session, put_session, store_turns
from tests.stack_fixtures.waiting import eventually
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

KEPT = timedelta(days=30)
NOT_CONNECTED = "sqlite+aiosqlite:///unused.db"  # settings want an address; nobody connects to it


def housekeeping(database: Database, redis: Redis, clock: FakeClock, *, days: int = 30) -> Housekeeping:
    settings = api_settings(NOT_CONNECTED, "redis://127.0.0.1:1", transcript_retention_days=days)
    return Housekeeping(database=database, redis=redis, settings=settings, holder="test", now=clock)


async def put_call(database: Database, *, age: timedelta | None, turns: int = 3, **row: Any) -> str:
    """A call that ended so long before T0, or goes on."""
    over = {} if age is None else {"status": SessionStatus.ENDED, "ended_at": T0 - age}
    session = await put_session(database, **{"status": SessionStatus.ACTIVE, **over, **row})
    await store_turns(database, [a_turn(session.id, seq) for seq in range(1, turns + 1)], now=FakeClock())
    return session.id


async def until_done(keeper: Housekeeping) -> int:
    steps = 0
    while await keeper.delete_old("default"):
        steps += 1
    return steps


async def test_turns_go_when_their_time_is_over_and_not_before(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    old = await put_call(database, age=KEPT + timedelta(seconds=1))
    young = await put_call(database, age=KEPT - timedelta(seconds=1))
    running = await put_call(database, age=None)
    other = await put_call(database, age=2 * KEPT, project="other")
    await until_done(housekeeping(database, redis, clock))
    assert await count(database, "transcript_item") == 9
    for session_id, gone in ((old, True), (young, False), (running, False), (other, False)):
        assert ((await get_session(database, session_id)).transcript_erased_at is not None) == gone
    async with database.snapshot() as db:
        found = await read_conversation(db, old, project="default", limit=10, after_seq=0, now=T0)
    assert (found.items, found.complete, found.missing, found.erased_at) == ([], None, [], T0)


async def test_nothing_goes_where_everything_is_kept(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    await put_call(database, age=timedelta(days=36_000))
    assert await until_done(housekeeping(database, redis, clock, days=0)) == 0
    assert await count(database, "transcript_item") == 3


async def test_a_step_is_small_however_much_there_is(
    database: Database, redis: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_TURNS", 4)
    monkeypatch.setattr(retention, "_SESSIONS", 2)
    for _ in range(3):
        await put_call(database, age=2 * KEPT, turns=5)
    keeper = housekeeping(database, redis, clock)
    left = [await count(database, "transcript_item")]
    while await keeper.delete_old("default"):
        left.append(await count(database, "transcript_item"))
    assert all(0 <= before - after <= 4 for before, after in itertools.pairwise(left))
    assert left[-1] == 0
    assert len(left) >= 5


async def test_what_is_deleted_is_not_found(sqlite_url: str, redis: Redis, clock: FakeClock) -> None:
    database = Database(sqlite_url)
    await put_call(database, age=2 * KEPT)
    await until_done(housekeeping(database, redis, clock))
    assert await count(database, "transcript_search_key") == 0
    assert await count(database, "transcript_search WHERE transcript_search MATCH 'turn'") == 0
    await database.close()


async def test_one_process_keeps_house_and_goes_on_by_itself(
    database: Database, redis: Redis, clock: FakeClock
) -> None:
    await put_call(database, age=2 * KEPT)

    async def gone() -> bool:
        return await count(database, "transcript_item") == 0

    async with in_background(housekeeping(database, redis, clock).run()):
        await eventually(gone)
    async with database.snapshot() as db:
        leases = (await db.scalars(select(col(LeaseRow.name)))).all()
    assert list(leases) == [retention.LEASE]
