"""One dispatcher at a time claims a session, continues where a dead one stopped, and gives up in time."""

import asyncio
from datetime import timedelta

import pytest

from services.dispatcher import repository as claim_module
from services.dispatcher.claims import Decision
from services.dispatcher.repository import CLAIM_LEASE, Repository
from shared.contracts.causes import Cause
from shared.contracts.events import SessionCancelled
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import advance
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKitError
from tests.integration.dispatcher.dispatching import take
from tests.integration.rows import (
    event_types,
    get_attempts,
    get_session,
    last_event,
    put_session,
)
from tests.stack_fixtures.waiting import eventually
from tests.unit.fake_rooms import refused_key, unreachable
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


async def test_a_claim_starts_the_first_attempt(database: Database, repository: Repository) -> None:
    row = await put_session(database, waiting_for=Cause.WORKERS_AT_CAPACITY)
    claim = await take(repository, row)
    assert (claim.order.attempt, claim.unsure, claim.fresh_room) == (1, False, True)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.attempt, stored.waiting_for) == (S.DISPATCHING, 1, None)
    assert stored.claimed_until == stored.next_check_at == T0 + CLAIM_LEASE
    assert await last_event(database, row.id) == {
        "type": "dispatch.started.v1",
        "attempt": 1,
        "max_attempts": 3,
        "worker_id": None,
    }
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.number, attempt.outcome, attempt.started_at) == (1, None, T0)


async def test_of_two_dispatchers_with_the_same_task_one_wins(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    found = [await repository.find_undispatched(row.id) for _ in range(6)]
    claims = await asyncio.gather(*(repository.claim(copy.row) for copy in found if copy is not None))
    assert sum(claim is not None for claim in claims) == 1
    assert len(await get_attempts(database, row.id)) == 1
    assert await event_types(database, row.id) == ["session.requested.v1", "dispatch.started.v1"]


async def test_a_second_delivery_finds_nothing_to_do_while_the_lease_lasts(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    await take(repository, row)
    assert await repository.find_undispatched(row.id) is None
    clock.time = T0 + CLAIM_LEASE - timedelta(microseconds=1)
    assert await repository.find_undispatched(row.id) is None
    clock.time = T0 + CLAIM_LEASE
    assert await repository.find_undispatched(row.id) is not None


async def test_a_dead_dispatchers_attempt_is_taken_over_under_its_number(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    await take(repository, row)
    clock.forward(seconds=6)
    claim = await take(repository, row)
    assert (claim.order.attempt, claim.unsure, claim.fresh_room) == (1, True, False)
    assert len(await get_attempts(database, row.id)) == 1
    assert await event_types(database, row.id) == ["session.requested.v1", "dispatch.started.v1"]


async def test_of_two_who_take_over_a_dead_dispatchers_attempt_one_wins(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    await take(repository, row)
    clock.forward(seconds=6)
    found = [await repository.find_undispatched(row.id) for _ in range(4)]
    claims = await asyncio.gather(*(repository.claim(copy.row) for copy in found if copy is not None))
    assert [claim.unsure for claim in claims if claim is not None] == [True]


async def test_an_accepted_dispatch_is_stored_and_the_verifier_called(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    claim = await take(repository, await put_session(database))
    clock.forward(seconds=1)
    assert await repository.accepted(claim, "AD_1", room_sid="RM_1")
    stored = await get_session(database, claim.row.id)
    assert (stored.status, stored.claimed_until, stored.accepted_at) == (S.DISPATCHED, None, clock())
    assert stored.next_check_at == clock() + timedelta(seconds=1)
    [attempt] = await get_attempts(database, claim.row.id)
    assert (attempt.outcome, attempt.dispatch_id, attempt.accepted_at) == ("accepted", "AD_1", clock())
    assert (await last_event(database, claim.row.id))["dispatch_id"] == "AD_1"
    assert await repository.find_undispatched(claim.row.id) is None


async def test_a_dispatch_that_came_too_late_has_the_ended_session_closed_once_more(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    claim = await take(repository, await put_session(database))
    await cancel(database, claim.row.id)
    assert not await repository.accepted(claim, "AD_1", room_sid="RM_1")
    stored = await get_session(database, claim.row.id)
    assert (stored.status, stored.next_check_at) == (S.CANCELLED, clock())
    [attempt] = await get_attempts(database, claim.row.id)
    assert attempt.dispatch_id == "AD_1"


async def test_who_has_lost_his_claim_overwrites_nothing(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    held_up = await take(repository, await put_session(database))
    clock.forward(seconds=6)
    other = await take(repository, held_up.row)
    assert await repository.accepted(other, "AD_2", room_sid="RM_1")
    assert not await repository.accepted(held_up, "AD_1", room_sid="RM_1")
    assert not (await repository.refused(held_up, unreachable())).won
    [attempt] = await get_attempts(database, held_up.row.id)
    assert (attempt.dispatch_id, attempt.outcome, attempt.cause) == ("AD_2", "accepted", None)
    assert await repository.decided(held_up) == Decision("AD_2")


async def test_who_has_lost_his_claim_waits_for_what_the_other_decides(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    held_up = await take(repository, await put_session(database))
    clock.forward(seconds=6)
    other = await take(repository, held_up.row)
    assert not await repository.accepted(held_up, "AD_1", room_sid="RM_1")
    assert await repository.decided(held_up) is None
    assert await repository.accepted(other, "AD_2", room_sid="RM_1")
    assert (await get_attempts(database, held_up.row.id))[0].dispatch_id == "AD_2"


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_an_attempt_that_came_to_nothing_has_no_dispatch(
    database: Database, repository: Repository, clock: FakeClock, how: str
) -> None:
    held_up = await take(repository, await put_session(database))
    clock.forward(seconds=6)
    other = await take(repository, held_up.row)
    if how == "cancelled":
        await cancel(database, held_up.row.id)
    else:
        await repository.refused(other, unreachable())
    assert await repository.decided(held_up) == Decision(None)


async def test_a_claim_lasts_as_long_as_somebody_is_at_it_and_no_longer_than_the_session(
    database: Database, repository: Repository, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_module, "RENEWAL_S", 0.01)
    held = await take(repository, await put_session(database))

    async def claimed_until(moment: object) -> bool:
        return (await get_session(database, held.row.id)).claimed_until == moment

    async with repository.held(held):
        for _ in range(3):
            clock.forward(seconds=4)
            await eventually(lambda: claimed_until(clock() + CLAIM_LEASE))
            assert await repository.find_undispatched(held.row.id) is None
        clock.time = held.row.deadline_at
    assert held.row.claimed_until is not None
    assert held.row.claimed_until < held.row.deadline_at + CLAIM_LEASE
    clock.time = T0
    assert await repository.accepted(held, "AD_1", room_sid="RM_1"), "the version is the database's"


async def test_after_an_error_the_next_attempt_follows_and_no_sooner_than_said(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    await repository.refused(await take(repository, row), unreachable())
    stored = await get_session(database, row.id)
    assert stored.status == S.DISPATCHING
    assert stored.next_check_at == stored.claimed_until
    delay = await wait_of(database, row, clock)
    assert 0.75 <= delay <= 1.25
    event = await last_event(database, row.id)
    assert (event["type"], event["cause"]) == ("dispatch.failed.v1", "livekit_unreachable")
    assert await repository.find_undispatched(row.id) is None
    clock.forward(seconds=delay)
    claim = await take(repository, row)
    assert (claim.order.attempt, claim.unsure, claim.fresh_room) == (2, False, False)
    assert [a.outcome for a in await get_attempts(database, row.id)] == ["error", None]


async def test_the_second_wait_is_three_times_the_first(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database, deadline_at=T0 + timedelta(minutes=1))
    await repository.refused(await take(repository, row), unreachable())
    clock.forward(seconds=2)
    await repository.refused(await take(repository, row), unreachable())
    assert 2.25 <= await wait_of(database, row, clock) <= 3.75


async def test_when_the_attempts_are_spent_the_session_fails_with_the_cause(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database, max_attempts=2)
    await repository.refused(await take(repository, row), unreachable())
    clock.forward(seconds=2)
    await repository.refused(await take(repository, row), unreachable())
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_unreachable")
    assert stored.evidence == {"error": "LiveKit can't be reached"}
    assert (await last_event(database, row.id))["type"] == "session.failed.v1"
    assert await repository.find_undispatched(row.id) is None


async def test_an_error_that_no_retry_can_cure_fails_the_session_at_once(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    await repository.refused(await take(repository, row), refused_key())
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.attempt) == (S.FAILED, "livekit_auth", 1)


async def test_a_retry_that_would_come_after_the_budget_is_not_waited_for(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    claim = await take(repository, row)
    clock.time = row.deadline_at - timedelta(milliseconds=500)
    await repository.refused(claim, unreachable())
    assert (await get_session(database, row.id)).status == S.FAILED


async def test_a_session_whose_budget_is_over_is_left_to_the_sweep(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    clock.time = row.deadline_at
    assert await repository.find_undispatched(row.id) is None


async def test_a_session_that_was_ended_meanwhile_is_not_failed_by_an_error(
    database: Database, repository: Repository
) -> None:
    claim = await take(repository, await put_session(database))
    await cancel(database, claim.row.id)
    await repository.refused(claim, refused_key())
    assert (await get_session(database, claim.row.id)).status == S.CANCELLED
    assert "session.failed.v1" not in await event_types(database, claim.row.id)


@pytest.mark.parametrize("error", [unreachable(), refused_key()], ids=["retryable", "permanent"])
async def test_a_dispatcher_that_was_overtaken_does_not_judge_the_attempt_of_its_successor(
    database: Database, repository: Repository, clock: FakeClock, error: LiveKitError
) -> None:
    row = await put_session(database)
    slow = await take(repository, row)
    clock.forward(seconds=6)
    successor = await take(repository, row)
    assert successor.order.attempt == 1
    await repository.refused(slow, error)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.outcome, attempt.cause) == (None, None)
    assert await repository.accepted(successor, "AD_1", room_sid="RM_1")


@pytest.mark.parametrize("status", sorted(set(S) - {S.REQUESTED, S.DISPATCHING}))
async def test_a_session_in_any_other_state_wants_no_dispatch(
    database: Database, repository: Repository, status: SessionStatus
) -> None:
    row = await put_session(database, status=status)
    assert await repository.find_undispatched(row.id) is None


async def test_a_session_that_is_not_there_wants_no_dispatch(repository: Repository) -> None:
    assert await repository.find_undispatched("no-such-session") is None


async def test_a_session_can_be_given_up_without_an_attempt(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    assert await repository.give_up(row, Cause.NO_WORKER_REGISTERED, {"agent_name": "agent"})
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.attempt) == (S.FAILED, "no_worker_registered", 0)
    assert stored.evidence == {"agent_name": "agent"}
