"""A session waits in its row: what for, behind whom, and who may pass."""

from datetime import timedelta

import pytest

from services.dispatcher.repository import Repository
from shared.contracts.causes import Cause
from shared.contracts.events import SessionCancelled
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import advance
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.dispatcher.dispatching import take
from tests.integration.rows import (
    event_types,
    get_session,
    last_event,
    put_session,
)
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql

S = SessionStatus


async def cancel(database: Database, session_id: str) -> None:
    async with database.write() as db:
        row = await db.get(SessionRow, session_id)
        assert row is not None
        cancelled = SessionCancelled(reason="by request")
        assert await advance(db, row, S.CANCELLED, event=cancelled, now=T0, next_check_at=None)


async def wait_of(database: Database, row: SessionRow, clock: FakeClock) -> float:
    """The seconds until the session's next attempt."""
    due = (await get_session(database, row.id)).next_check_at
    assert due is not None
    return (due - clock()).total_seconds()


async def test_a_session_that_waits_says_what_for_and_is_looked_at_by_nobody(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    assert await repository.park(row, Cause.WORKERS_AT_CAPACITY, {"workers": ["w-1"]})
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for, stored.attempt) == (S.REQUESTED, "workers_at_capacity", 0)
    assert stored.claimed_until == stored.next_check_at == stored.deadline_at
    assert await last_event(database, row.id) == {
        "type": "session.waiting.v1",
        "cause": "workers_at_capacity",
        "place": 1,
        "evidence": {"workers": ["w-1"]},
    }
    assert await repository.find_undispatched(row.id) is None
    clock.time = row.deadline_at - timedelta(microseconds=1)
    assert await repository.find_undispatched(row.id) is None


async def test_waiting_again_for_the_same_is_no_news_and_for_something_else_it_is(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    causes = [Cause.WORKERS_AT_CAPACITY] * 2 + [Cause.LIVEKIT_UNREACHABLE] * 2
    assert [await repository.park(row, cause, {}) for cause in causes] == [True, False, True, False]
    events = await event_types(database, row.id)
    assert events == ["session.requested.v1", "session.waiting.v1", "session.waiting.v1"]
    last = await last_event(database, row.id)
    assert (last["cause"], last["place"]) == ("livekit_unreachable", None)


async def test_a_session_that_has_moved_on_is_not_left_waiting(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    await cancel(database, row.id)
    assert not await repository.park(row, Cause.WORKERS_AT_CAPACITY, {})
    assert not await repository.give_up(row, Cause.WORKERS_AT_CAPACITY, {})
    stored = await get_session(database, row.id)
    assert (stored.status, stored.waiting_for) == (S.CANCELLED, None)


async def test_the_place_in_line_counts_the_older_ones_of_the_same_agent_name(
    database: Database, repository: Repository
) -> None:
    older = [await put_session(database) for _ in range(2)]
    other = await put_session(database, agent_name="other")
    over = await put_session(database, status=S.CANCELLED, waiting_for=Cause.WORKERS_AT_CAPACITY)
    row = await put_session(database)
    younger = await put_session(database)
    for waiting in (younger, *older, other, row):
        await repository.park(waiting, Cause.WORKERS_AT_CAPACITY, {})
    assert over.id < row.id
    assert (await last_event(database, row.id))["place"] == 3
    assert (await last_event(database, other.id))["place"] == 1


@pytest.mark.parametrize("cause", [Cause.WORKERS_AT_CAPACITY, Cause.LIVEKIT_UNREACHABLE])
async def test_a_session_finds_itself_behind_an_older_one_that_waits(
    database: Database, repository: Repository, cause: Cause
) -> None:
    older, row = await put_session(database), await put_session(database)
    await repository.park(older, cause, {})
    wanted = await repository.find_undispatched(row.id)
    assert wanted is not None
    assert wanted.behind is cause


async def test_a_session_is_behind_nobody_who_is_younger_or_elsewhere_or_has_gone_on(
    database: Database, repository: Repository
) -> None:
    gone_on, ended, other = [await put_session(database, agent_name=n) for n in ("agent", "agent", "x")]
    row, younger = await put_session(database), await put_session(database)
    for waiting in (gone_on, ended, other, younger):
        await repository.park(waiting, Cause.WORKERS_AT_CAPACITY, {})
    async with database.write() as db:
        (await db.get_one(SessionRow, gone_on.id)).claimed_until = None
        (await db.get_one(SessionRow, ended.id)).status = S.ENDED
    wanted = await repository.find_undispatched(row.id)
    assert wanted is not None
    assert wanted.behind is None


@pytest.mark.parametrize(
    ("waited_for", "behind"),
    [(Cause.WORKERS_AT_CAPACITY, None), (Cause.LIVEKIT_UNREACHABLE, Cause.WORKERS_AT_CAPACITY)],
)
async def test_only_a_session_that_was_given_a_slot_passes_those_that_wait(
    database: Database, repository: Repository, waited_for: Cause, behind: Cause | None
) -> None:
    older, row = await put_session(database), await put_session(database, waiting_for=waited_for)
    await repository.park(older, Cause.WORKERS_AT_CAPACITY, {})
    wanted = await repository.find_undispatched(row.id)
    assert wanted is not None
    assert wanted.behind is behind


@pytest.mark.parametrize(
    ("cause", "most"),
    [(Cause.WORKERS_AT_CAPACITY, 4), (Cause.WORKER_DRAINING, 4), (Cause.WORKER_DIED, 3), (None, 3)],
)
async def test_an_attempt_that_met_full_workers_does_not_count(
    database: Database, repository: Repository, cause: Cause | None, most: int
) -> None:
    ended = {"number": 1, "outcome": "missing", "cause": cause}
    row = await put_session(database, status=S.DISPATCHING, attempt=ended)
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).attempt = 1
    claim = await take(repository, row)
    assert (claim.order.attempt, claim.row.max_attempts) == (2, most)
    assert (await get_session(database, row.id)).max_attempts == most
    assert (await last_event(database, row.id))["max_attempts"] == most
