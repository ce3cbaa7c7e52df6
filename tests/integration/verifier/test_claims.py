"""One verifier has a session at a time, and gives it back."""

import asyncio
from datetime import timedelta

import pytest

from services.verifier.repository import CLAIM_LEASE
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.platform.background import stop_all
from tests.integration.rows import (
    event_types,
    get_session,
)
from tests.integration.verifier.verifier_bench import Bench
from tests.support.sessions import until
from tests.unit.making import T0, make_agent

S = SessionStatus
# After all answers that were noted before.
OVERTAKEN = timedelta(seconds=1)


@pytest.mark.sql
async def test_of_two_verifiers_one_verifies(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    read = [await bench.current(row) for _ in range(4)]
    await asyncio.gather(*(bench.verifier.verify(current) for current in read))
    assert (await event_types(bench.database, row.id)).count("agent.joined.v1") == 1


async def test_a_verifier_leaves_a_session_to_the_one_that_has_it(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, claimed_until=T0 + timedelta(seconds=1))
    assert await bench.verify(row) == row
    assert bench.rooms.calls == []


async def test_a_verifier_lets_go_of_a_session_that_was_ended(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    verifying = asyncio.create_task(bench.verifier.verify(await bench.current(row)))

    async def looked() -> bool:
        return "participants" in bench.rooms.calls

    await until(looked, what="the room was looked at")
    assert await bench.repository.failed(await get_session(bench.database, row.id), Cause.UNKNOWN, {})
    async with asyncio.timeout(20):
        await verifying
    assert (await get_session(bench.database, row.id)).cause == "unknown"


async def test_a_claim_is_kept_for_no_longer_than_its_lease(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    assert await bench.repository.claim(row)
    stored = await get_session(bench.database, row.id)
    assert stored.claimed_until == stored.next_check_at == T0 + CLAIM_LEASE


@pytest.mark.parametrize("status", [S.DISPATCHED, S.ACTIVE])
async def test_who_is_told_to_stop_gives_his_claim_back_whatever_he_is_doing(
    bench: Bench, status: SessionStatus
) -> None:
    row = await bench.put(status)
    if status == S.ACTIVE:
        bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    # On SQLite a write that is cancelled in its midst may keep the file locked until its process has ended.
    for moment in range(1 if bench.database.is_sqlite else 25):
        current = await bench.current(row)
        work = bench.verifier.verify(current) if status == S.DISPATCHED else bench.watch.check(current)
        working = asyncio.create_task(work)
        for _ in range(moment):
            await asyncio.sleep(0.001)
        await stop_all([working])
        stored = await get_session(bench.database, row.id)
        assert (stored.status, stored.claimed_until) == (status, None), moment
        assert await bench.repository.claim(stored), "another takes over at once"
        await bench.repository.look_again(stored, at=T0)


@pytest.mark.sql
async def test_who_is_told_to_stop_does_not_touch_what_has_moved_on(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    working = asyncio.create_task(bench.verifier.verify(await bench.current(row)))

    async def claimed() -> bool:
        return (await get_session(bench.database, row.id)).claimed_until is not None

    await until(claimed, what="the session is claimed")
    current = await bench.current(row)
    later = timedelta(seconds=2)
    assert await bench.repository.missing(current, Cause.UNKNOWN, {}, delay=later, pool="")
    await stop_all([working])
    assert (await get_session(bench.database, row.id)).claimed_until == T0 + later


async def test_a_livekit_that_hangs_is_not_waited_for_until_the_claim_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(name: str) -> list[object]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr(bench.rooms, "participants", hang)
    row = await bench.put(S.DISPATCHED, max_attempts=1)
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_unreachable")
