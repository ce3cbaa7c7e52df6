"""One of several processes does a piece of housekeeping, and another takes over when that one stops."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from services.api.growth import Growth
from services.api.transcripts.erase.retention import Housekeeping
from shared.platform.background import stop_all
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.lease import Lease, LeaseRow, every
from tests.integration.api_client import api_settings
from tests.stack_fixtures.waiting import eventually
from tests.unit.making import FakeClock

pytestmark = pytest.mark.sql

TERM = timedelta(seconds=3)
MakeLease = Callable[..., Lease]


@pytest.fixture
def lease(database: Database, clock: FakeClock) -> MakeLease:
    def make(holder: str, *, name: str = "chores") -> Lease:
        return Lease(database, name=name, holder=holder, term=TERM, now=clock)

    return make


async def test_only_one_of_many_holds_the_lease(lease: MakeLease) -> None:
    leases = [lease(f"holder-{number}") for number in range(6)]
    for _ in range(2):  # the very first lease, and then one that is held already
        held = await asyncio.gather(*(lease.hold() for lease in leases))
        assert sum(held) == 1


async def test_a_holder_that_works_on_keeps_the_lease(lease: MakeLease, clock: FakeClock) -> None:
    holder, other = lease("holder"), lease("other")
    for _ in range(20):
        assert await holder.hold()
        assert not await other.hold()
        clock.forward(seconds=0.5)


async def test_the_lease_passes_on_when_its_holder_stops_and_does_not_come_back(
    lease: MakeLease, clock: FakeClock
) -> None:
    holder, other = lease("holder"), lease("other")
    assert await holder.hold()
    clock.forward(seconds=TERM.total_seconds() - 0.001)
    assert not await other.hold()
    clock.forward(seconds=0.001)
    assert await other.hold()
    assert not await holder.hold()


async def test_a_frozen_holder_notices_that_another_has_taken_over(
    lease: MakeLease, clock: FakeClock
) -> None:
    holder, other = lease("holder"), lease("other")
    assert await holder.hold()
    clock.forward(minutes=5)
    assert await other.hold()
    assert not await holder.hold()


async def test_a_turn_is_taken_by_one_of_many_and_once_in_a_term(lease: MakeLease, clock: FakeClock) -> None:
    leases = [lease(f"process-{number}") for number in range(6)]
    for _ in range(3):
        assert sum(await asyncio.gather(*(lease.take_once() for lease in leases))) == 1
        clock.forward(seconds=TERM.total_seconds() - 0.001)
        assert sum(await asyncio.gather(*(lease.take_once() for lease in leases))) == 0
        clock.forward(seconds=0.001)


async def test_who_had_the_last_turn_has_to_wait_as_everybody(lease: MakeLease, clock: FakeClock) -> None:
    one, other = lease("one"), lease("other")
    assert await one.take_once()
    assert not await one.take_once()
    clock.forward(seconds=TERM.total_seconds())
    assert await other.take_once()
    assert not await one.take_once()


async def test_leases_of_different_names_know_nothing_of_each_other(lease: MakeLease) -> None:
    assert await lease("one").hold()
    assert await lease("other", name="canary").take_once()
    assert await lease("one", name="collect").hold()


async def test_a_holder_that_is_told_to_stop_gives_the_lease_back_at_once(lease: MakeLease) -> None:
    other = lease("other")
    async with lease("holder") as holder:
        assert await holder.hold()
        assert not await other.hold()
    assert await other.hold()
    async with lease("holder"):
        pass  # it was never his
    assert await other.take_once() is False


async def test_a_lease_that_was_just_being_taken_is_given_back_too(lease: MakeLease) -> None:
    async def work(number: int) -> None:
        async with lease(f"holder-{number}") as holder:
            while True:
                await holder.hold()
                await asyncio.sleep(0)

    for moment in range(30):
        working = asyncio.create_task(work(moment))
        for _ in range(moment):
            await asyncio.sleep(0)
        await stop_all([working])
        async with lease(f"other-{moment}") as other:
            assert await other.hold()


async def test_a_loop_that_is_cancelled_gives_its_lease_back(lease: MakeLease) -> None:
    rounds = asyncio.Event()

    async def work() -> None:
        rounds.set()

    loop = asyncio.create_task(every(3600, work, lease=lease("holder"), note=raise_it))
    await rounds.wait()
    assert not await lease("other").hold()
    await stop_all([loop])
    assert await lease("other").hold()


async def test_a_loop_finishes_no_round_that_it_was_cancelled_in_and_gives_its_lease_back(
    lease: MakeLease,
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    loop = asyncio.create_task(every(3600, work, lease=lease("holder"), note=raise_it))
    await begun.wait()
    await stop_all([loop])
    assert await lease("other").hold()


async def test_a_loop_works_on_at_once_while_there_is_more_to_do(lease: MakeLease) -> None:
    left = [1, 2, 3]

    async def work() -> bool:
        left.pop()
        return bool(left)

    loop = asyncio.create_task(every(3600, work, lease=lease("holder"), note=raise_it))
    await eventually(lambda: not left)
    await stop_all([loop])


async def test_who_does_not_hold_the_lease_does_something_else(lease: MakeLease) -> None:
    waits = asyncio.Event()

    async def otherwise() -> None:
        waits.set()

    assert await lease("holder").hold()
    loop = asyncio.create_task(every(3600, no_work, lease=lease("other"), note=raise_it, otherwise=otherwise))
    await waits.wait()
    await stop_all([loop])
    assert not await lease("other").hold()


async def test_a_loop_outlives_the_errors_it_expects_and_no_others(lease: MakeLease) -> None:
    errors: list[Exception] = [OperationalError("", None, Exception("gone")), ZeroDivisionError()]
    noted: list[Exception] = []

    async def work() -> None:
        raise errors[len(noted)]

    with pytest.raises(ZeroDivisionError):
        await every(0, work, lease=lease("holder"), note=noted.append)
    assert noted == errors[:1]
    assert await lease("other").hold()


@pytest.mark.parametrize("kind", [Growth, Housekeeping])
async def test_an_api_that_is_told_to_stop_gives_its_housekeeping_back_at_once(
    kind: type[Growth] | type[Housekeeping], database: Database, redis: Redis
) -> None:
    settings = api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1")
    keeper = kind(database=database, redis=redis, settings=settings, holder="holder", now=utc_now)
    loop = asyncio.create_task(keeper.run())
    await eventually(lambda: is_held(database))
    await stop_all([loop])
    assert not await is_held(database)


async def is_held(database: Database) -> bool:
    async with database.read() as db:
        held = await db.scalars(select(col(LeaseRow.holder)).where(col(LeaseRow.expires_at) > utc_now()))
        return held.first() is not None


async def no_work() -> None:
    raise AssertionError("another process holds the lease")


def raise_it(error: Exception) -> None:
    raise error
