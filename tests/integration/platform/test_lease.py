"""The lease: one of several processes does a piece of housekeeping, and another when that one stops."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.platform.background import stop_all
from shared.platform.database.database import Database
from shared.platform.lease import Lease
from tests.unit.making import FakeClock

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
        assert sum(await asyncio.gather(*(lease.take_turn() for lease in leases))) == 1
        clock.forward(seconds=TERM.total_seconds() - 0.001)
        assert sum(await asyncio.gather(*(lease.take_turn() for lease in leases))) == 0
        clock.forward(seconds=0.001)


async def test_who_had_the_last_turn_has_to_wait_as_everybody(lease: MakeLease, clock: FakeClock) -> None:
    one, other = lease("one"), lease("other")
    assert await one.take_turn()
    assert not await one.take_turn()
    clock.forward(seconds=TERM.total_seconds())
    assert await other.take_turn()
    assert not await one.take_turn()


async def test_leases_of_different_names_know_nothing_of_each_other(lease: MakeLease) -> None:
    assert await lease("one").hold()
    assert await lease("other", name="canary").take_turn()
    assert await lease("one", name="collect").hold()


async def test_a_holder_that_is_told_to_stop_gives_the_lease_back_at_once(lease: MakeLease) -> None:
    other = lease("other")
    async with lease("holder") as holder:
        assert await holder.hold()
        assert not await other.hold()
    assert await other.hold()
    async with lease("holder"):
        pass  # it was never his
    assert await other.take_turn() is False


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
