"""The verifier proves a join or names the cause; the watch replaces a lost agent or ends the session."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from services.verifier.close import RETRY, SECOND_LOOK, Closer
from services.verifier.rulings import CLAIM_LEASE, Case, Rulings
from services.verifier.verify import Verifier
from services.verifier.wake import Waker
from services.verifier.watch import Watch
from shared.contracts.causes import Cause
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from shared.runtime.outbox import Relay
from shared.runtime.registry import write_heartbeat
from shared.runtime.tables import SessionRow
from tests.integration.background import in_background
from tests.integration.rows import (
    event_types,
    get_attempts,
    get_session,
    last_event,
    put_session,
)
from tests.support.sessions import until
from tests.unit.fake_rooms import FakeRooms, refused_key, unreachable
from tests.unit.making import T0, FakeClock, make_agent, make_caller, make_heartbeat

S = SessionStatus


class Bench:
    """A verifier, a watch and a closer around one database, one Redis and one LiveKit made of memory."""

    def __init__(self, database: Database, redis: Redis, relay: Relay, clock: FakeClock) -> None:
        self.database = database
        self.redis = redis
        self.clock = clock
        self.rooms = FakeRooms()
        self.waker = Waker()
        self.rulings = Rulings(database, watch_interval_s=10, join_budget_s=15, now=clock)
        self.verifier = Verifier(
            rulings=self.rulings,
            rooms=self.rooms,
            redis=redis,
            relay=relay,
            waker=self.waker,
            attempt_window_s=5.5,
            now=clock,
        )
        self.watch = Watch(
            rulings=self.rulings,
            rooms=self.rooms,
            relay=relay,
            verifier=self.verifier,
            interval_s=10,
            max_revivals=2,
            max_attempts=3,
            now=clock,
        )
        self.closer = Closer(rulings=self.rulings, rooms=self.rooms, redis=redis, now=clock)

    async def put(
        self, status: SessionStatus, *, attempt: dict[str, Any] | None = None, **row: Any
    ) -> SessionRow:
        """A session in its first attempt, and its room with the caller in it."""
        how = {"dispatch_id": "AD_1", "accepted_at": T0, "outcome": "accepted", **(attempt or {})}
        values = {"room_name": "lobby", **row}
        made = await put_session(self.database, status=status, attempt={"number": 1, **how}, **values)
        async with self.database.write() as db:
            (await db.get_one(SessionRow, made.id)).attempt = 1
        self.rooms.open_room("lobby", make_caller())
        return await get_session(self.database, made.id)

    async def case(self, row: SessionRow) -> Case:
        case = await self.rulings.read(row.id)
        assert case is not None
        return case

    async def verify(self, row: SessionRow) -> SessionRow:
        async with asyncio.timeout(20):
            await self.verifier.verify(await self.case(row))
        return await get_session(self.database, row.id)

    async def check(self, row: SessionRow) -> SessionRow:
        await self.watch.check(await self.case(row))
        return await get_session(self.database, row.id)


@pytest.fixture
def bench(database: Database, redis: Redis, relay: Relay, clock: FakeClock) -> Bench:
    return Bench(database, redis, relay, clock)


async def test_an_agent_that_is_there_is_proven_at_the_first_look(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    bench.clock.forward(seconds=0.4)
    stored = await bench.verify(row)
    assert (stored.status, stored.agent_identity) == (S.ACTIVE, "agent-AJ_1")
    assert stored.next_check_at == bench.clock() + timedelta(seconds=10)
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["join_seconds"]) == ("agent.joined.v1", 0.4)
    [attempt] = await get_attempts(bench.database, row.id)
    assert (attempt.outcome, attempt.participant_sid) == ("joined", "PA_agent-AJ_1")


async def test_a_second_delivery_proves_nothing_twice(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    case = await bench.case(row)
    await bench.verify(row)
    await bench.verifier.verify(case)
    assert (await event_types(bench.database, row.id)).count("agent.joined.v1") == 1


async def test_of_two_verifiers_one_verifies(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    cases = [await bench.case(row) for _ in range(4)]
    await asyncio.gather(*(bench.verifier.verify(case) for case in cases))
    assert (await event_types(bench.database, row.id)).count("agent.joined.v1") == 1


async def test_a_verifier_leaves_a_session_to_the_one_that_has_it(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, claimed_until=T0 + timedelta(seconds=1))
    assert await bench.verify(row) == row
    assert bench.rooms.calls == []


async def test_a_hint_makes_the_next_look_come_at_once(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    async with in_background(bench.verifier.verify(await bench.case(row))):

        async def looked() -> bool:
            return "participants" in bench.rooms.calls

        await until(looked, what="the room was looked at")
        bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))

        async def active() -> bool:
            bench.waker.wake(row.id)
            return (await get_session(bench.database, row.id)).status == S.ACTIVE

        await until(active, what="the session is active")


async def test_a_verifier_lets_go_of_a_session_that_was_ended(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    verifying = asyncio.create_task(bench.verifier.verify(await bench.case(row)))

    async def looked() -> bool:
        return "participants" in bench.rooms.calls

    await until(looked, what="the room was looked at")
    assert await bench.rulings.failed(await get_session(bench.database, row.id), Cause.UNKNOWN, {})
    async with asyncio.timeout(20):
        await verifying
    assert (await get_session(bench.database, row.id)).cause == "unknown"


async def test_an_attempt_without_an_agent_is_followed_by_another(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    await write_heartbeat(bench.redis, make_heartbeat())
    bench.clock.forward(seconds=6)
    stored = await bench.verify(row)
    assert (stored.status, stored.claimed_until) == (S.DISPATCHING, None)
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["cause"]) == ("agent.missing.v1", "assignment_timeout")
    [attempt] = await get_attempts(bench.database, row.id)
    assert (attempt.outcome, attempt.cause) == ("missing", "assignment_timeout")


async def test_when_the_last_attempt_brought_no_agent_the_session_fails(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=1)
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "no_worker_registered")
    assert (await last_event(bench.database, row.id))["type"] == "session.failed.v1"


async def test_a_reported_error_ends_the_waiting_at_once(bench: Bench) -> None:
    error = {"type": "ValueError", "message": "no such table", "recoverable": False}
    stored = await bench.verify(await bench.put(S.DISPATCHED, attempt={"error": error}))
    assert stored.status == S.DISPATCHING
    assert (await last_event(bench.database, stored.id))["cause"] == "entrypoint_failed"


async def test_a_livekit_that_is_away_is_waited_for_and_then_the_cause(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED, max_attempts=1)
    bench.rooms.down = unreachable()
    bench.clock.forward(seconds=15)
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_unreachable")


async def test_a_wrong_key_is_not_tried_again(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.down = refused_key()
    stored = await bench.verify(row)
    assert (stored.status, stored.cause) == (S.FAILED, "livekit_auth")


async def test_a_second_agent_is_removed_and_recorded(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    bench.rooms.people["lobby"] += [
        make_agent("agent-AJ_1", session_id=row.id, attempt=1),
        make_agent("agent-AJ_2", session_id=row.id, attempt=1),
    ]
    await bench.verify(row)
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-AJ_1"]
    assert (await last_event(bench.database, row.id))["type"] == "agent.extra_removed.v1"


async def test_an_agent_that_stays_is_looked_at_again_later(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE)
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, T0 + timedelta(seconds=10))


async def test_an_agent_that_is_lost_is_replaced_with_a_budget_of_its_own(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={"assigned_at": T0, "worker_id": "worker-9"})
    bench.clock.forward(minutes=5)
    stored = await bench.check(row)
    assert (stored.status, stored.revivals, stored.max_attempts) == (S.DISPATCHING, 1, 4)
    assert stored.deadline_at == bench.clock() + timedelta(seconds=15)
    assert (stored.agent_identity, stored.agent_sid) == (None, None)
    event = await last_event(bench.database, row.id)
    assert (event["type"], event["evidence"]["worker_id"]) == ("agent.lost.v1", "worker-9")


async def test_an_agent_that_was_lost_too_often_is_given_up(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={"assigned_at": T0}, revivals=2)
    stored = await bench.check(row)
    assert (stored.status, stored.cause) == (S.FAILED, "agent_left")


async def test_an_agent_that_said_goodbye_ends_the_session(bench: Bench) -> None:
    goodbye = {"assigned_at": T0, "closed_at": T0, "close_reason": "user_initiated"}
    stored = await bench.check(await bench.put(S.ACTIVE, attempt=goodbye))
    assert (stored.status, stored.end_reason) == (S.ENDED, "user_initiated")
    assert (await last_event(bench.database, stored.id))["type"] == "session.ended.v1"


async def test_a_room_that_is_closed_ends_the_session(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE)
    await bench.rooms.delete_room("lobby")
    stored = await bench.check(row)
    assert (stored.status, stored.end_reason) == (S.ENDED, "room closed")


async def test_a_livekit_that_is_away_is_no_proof_that_the_agent_is_gone(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE)
    bench.rooms.down = unreachable()
    stored = await bench.check(row)
    assert (stored.status, stored.next_check_at) == (S.ACTIVE, T0 + timedelta(seconds=10))


async def test_of_two_watches_one_rules(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, attempt={"assigned_at": T0})
    cases = [await bench.case(row) for _ in range(4)]
    await asyncio.gather(*(bench.watch.check(case) for case in cases))
    assert (await event_types(bench.database, row.id)).count("agent.lost.v1") == 1


async def test_a_claim_is_kept_for_no_longer_than_its_lease(bench: Bench) -> None:
    row = await bench.put(S.DISPATCHED)
    assert await bench.rulings.claim(row)
    stored = await get_session(bench.database, row.id)
    assert stored.claimed_until == stored.next_check_at == T0 + CLAIM_LEASE


async def close(bench: Bench, row: SessionRow) -> SessionRow:
    await bench.closer.close(await bench.rulings.read_session(row.id))
    return await get_session(bench.database, row.id)


async def test_an_ended_session_is_cleared_away_twice_and_then_left(bench: Bench) -> None:
    row = await bench.put(S.ENDED, next_check_at=T0, ended_at=T0, room_is_ours=True)
    bench.rooms.add_dispatch("lobby", {"rollcall.session": row.id})
    stored = await close(bench, row)
    assert "lobby" not in bench.rooms.rooms
    assert await bench.redis.get(fence_key(SessionId(row.id))) == FENCE_CLOSED
    assert stored.next_check_at == T0 + SECOND_LOOK
    bench.rooms.open_room("lobby", make_agent(session_id=row.id, attempt=1))  # a late agent made it anew
    bench.clock.time = T0 + SECOND_LOOK
    stored = await close(bench, row)
    assert "lobby" not in bench.rooms.rooms
    assert stored.next_check_at is None


async def test_in_a_room_of_somebody_else_only_our_agent_is_sent_away(bench: Bench) -> None:
    row = await bench.put(S.FAILED, next_check_at=T0, ended_at=T0, room_is_ours=False)
    bench.rooms.people["lobby"] += [
        make_agent("agent-ours", session_id=row.id, attempt=1),
        make_agent("agent-theirs", session_id="another"),
    ]
    await close(bench, row)
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-theirs"]


async def test_a_session_that_lives_is_not_cleared_away(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, next_check_at=T0)
    assert await close(bench, row) == row
    assert bench.rooms.calls == []


async def test_a_livekit_that_is_away_is_asked_again_to_clear_up(bench: Bench) -> None:
    row = await bench.put(S.ENDED, next_check_at=T0, ended_at=T0)
    bench.rooms.down = unreachable()
    assert (await close(bench, row)).next_check_at == T0 + RETRY
    bench.rooms.down = None
    await close(bench, row)
    assert "lobby" not in bench.rooms.rooms
