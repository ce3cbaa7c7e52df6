"""Agents' reports give the times of the levels of proof and the evidence.

One bad report holds up no other.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from services.verifier.reports.reports import GROUP, Reports
from services.verifier.wake import Waker
from shared.contracts.events import AgentReported, Envelope, Step, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, REPORTS_STREAM, worker_answers_key
from shared.contracts.sessions import SessionStatus
from shared.core.database_ready import missing_columns
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.watermark import read_stored
from shared.core.workers.circuit import read_circuits
from shared.core.workers.placing import may_place
from shared.core.workers.track_record import Result, circuit_of, note_failed
from shared.platform.database.database import Database
from shared.platform.redis.streams import publish
from tests.integration.background import in_background
from tests.integration.rows import event_types, get_attempts, get_session, put_session
from tests.support.counted import write_transactions
from tests.support.sessions import until
from tests.unit.making import T0, FakeClock, make_attempt

pytestmark = pytest.mark.sql

AT = T0 + timedelta(milliseconds=250)


def a_report(row: SessionRow, step: Step, **changes: Any) -> Envelope:
    values: dict[str, Any] = {
        "session_id": row.id,
        "attempt": 1,
        "step": step,
        "room_name": row.room_name,
        "worker_id": "worker-1",
        "agent_name": "agent",
        "job_id": "AJ_1",
        **changes,
    }
    report = AgentReported.model_validate(values)
    return wrap(report, session_id=SessionId(row.id), source="rollcall/agent", time=AT)


@pytest.fixture
async def row(database: Database) -> SessionRow:
    made = await put_session(database, status=SessionStatus.DISPATCHED, attempt={"number": 1})
    async with database.write() as db:
        (await db.get_one(SessionRow, made.id)).attempt = 1
    return await get_session(database, made.id)


@asynccontextmanager
async def consuming(database: Database, redis: Redis, relay: Relay, clock: FakeClock) -> AsyncIterator[None]:
    reports = Reports(database=database, redis=redis, relay=relay, waker=Waker(), consumer="c-1", now=clock)

    async with in_background(for_ever(reports)):
        yield


async def for_ever(reports: Reports) -> None:
    """As in its process: a loop that fails is begun again."""
    while True:
        with suppress(Exception):
            await reports.run()
        await asyncio.sleep(0.05)


async def handled(redis: Redis, entries: int) -> None:
    async def acknowledged() -> bool:
        try:
            found = [g for g in await redis.xinfo_groups(REPORTS_STREAM) if g["name"] == GROUP]
        except Exception:  # the stream is not there yet
            return False
        return bool(found) and found[0]["entries-read"] == entries and found[0]["pending"] == 0

    await until(acknowledged, what=f"{entries} reports are handled", timeout_s=20)


async def test_each_step_is_dated_by_the_time_it_was_reported_for(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    steps = [Step.ACCEPTED, Step.ENTRYPOINT_STARTED, Step.CONNECTED, Step.READY, Step.FIRST_SPEECH]
    async with consuming(database, redis, relay, clock):
        for _ in range(2):
            await publish(redis, REPORTS_STREAM, [a_report(row, step, room_sid="RM_1") for step in steps])
        await handled(redis, 10)
    [attempt] = await get_attempts(database, row.id)
    dated = (attempt.assigned_at, attempt.entrypoint_at, attempt.connected_at, attempt.ready_at)
    assert dated == (AT, AT, AT, AT)
    assert (attempt.worker_id, attempt.job_id) == ("worker-1", "AJ_1")
    stored = await get_session(database, row.id)
    assert (stored.assigned_at, stored.ready_at, stored.first_speech_at) == (AT, AT, AT)
    assert stored.room_sid == "RM_1"
    assert await event_types(database, row.id) == [
        "session.requested.v1",
        "agent.assigned.v1",
        "agent.ready.v1",
        "agent.first_speech.v1",
    ]


async def test_a_worker_that_livekit_drew_for_an_addressed_job_is_not_the_one_that_was_chosen(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock
) -> None:
    chosen = {"number": 1, "chosen_worker_id": "w-1", "address": "at-w-1"}
    row = await put_session(database, status=SessionStatus.DISPATCHED, attempt=chosen)
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.REJECTED, reason="full", misplaced=True)])
        await handled(redis, 1)
    assert not await may_place(redis, last_chance=False)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.address, attempt.chosen_worker_id) == (None, None), "LiveKit may ask the next worker"


async def test_an_answer_tells_how_soon_the_chosen_worker_answers_and_takes_a_failure_back(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock
) -> None:
    chosen = {"number": 1, "chosen_worker_id": "worker-1", "address": "here", "accepted_at": clock()}
    row = await put_session(database, status=SessionStatus.DISPATCHED, attempt=chosen)
    for number in (2, 3, 1):
        await note_failed(redis, "worker-1", Result.SILENT, dispatch=f"{row.id}:{number}")
    clock.forward(seconds=4.2)
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.ACCEPTED)])
        await handled(redis, 1)
    assert await redis.lrange(worker_answers_key("worker-1"), 0, -1) == ["4200"]
    assert await read_circuits(redis, [circuit_of("worker-1")]) == [None]
    assert await may_place(redis, last_chance=True), "an addressed dispatch has arrived"


async def test_steps_that_nobody_waits_for_are_written_with_the_next_one(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    steps = [Step.ACCEPTED, Step.ENTRYPOINT_STARTED, Step.CONNECTED]
    before = write_transactions()
    await publish(redis, REPORTS_STREAM, [a_report(row, step) for step in steps])
    async with consuming(database, redis, relay, clock):
        await handled(redis, 3)
    assert write_transactions() - before == 1


async def test_a_step_that_no_other_follows_is_written_all_the_same(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.ACCEPTED)])
        await handled(redis, 1)
    assert (await get_session(database, row.id)).assigned_at == AT


async def test_a_report_moves_no_session(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, step) for step in Step])
        await handled(redis, len(Step))
    stored = await get_session(database, row.id)
    assert (stored.status, stored.version) == (row.status, row.version)


async def test_the_number_of_turns_counts_from_where_this_agent_began(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.CLOSED, turns=7, reason="user_initiated")])
        await handled(redis, 1)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.expected_turns, attempt.counted_at) == (7, AT)
    assert (attempt.closed_at, attempt.close_reason) == (AT, "user_initiated")


async def test_the_count_of_a_dead_job_is_written_down_and_ends_nothing(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.SETTLED, turns=3)])
        await handled(redis, 1)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.expected_turns, attempt.counted_at) == (3, AT)
    assert (attempt.closed_at, attempt.close_reason, attempt.entrypoint_at) == (None, None, None)
    after = await get_session(database, row.id)
    assert (after.version, after.next_check_at) == (row.version, row.next_check_at)


@pytest.mark.parametrize("last", [Step.CLOSED, Step.SETTLED])
async def test_the_agents_own_count_is_the_one_that_holds(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow, last: Step
) -> None:
    first = Step.SETTLED if last is Step.CLOSED else Step.CLOSED
    turns = {Step.CLOSED: 4, Step.SETTLED: 3}
    async with consuming(database, redis, relay, clock):
        await publish(
            redis, REPORTS_STREAM, [a_report(row, step, turns=turns[step]) for step in (first, last)]
        )
        await handled(redis, 2)
    [attempt] = await get_attempts(database, row.id)
    assert attempt.expected_turns == 4


async def test_a_count_of_an_earlier_attempt_is_written_down_too(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).attempt = 2
        db.add(make_attempt(row, number=2))
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.CLOSED, turns=3)])
        await handled(redis, 1)
    first, second = await get_attempts(database, row.id)
    assert (first.expected_turns, second.expected_turns) == (3, None)


async def test_a_worker_is_told_that_its_count_is_written_down(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(
            redis, REPORTS_STREAM, [a_report(row, Step.READY), a_report(row, Step.SETTLED, turns=3)]
        )
        await handled(redis, 2)
    assert (await read_stored(redis, row.id, job_id="AJ_1", attempt=1)).is_counted
    assert not (await read_stored(redis, row.id, job_id="AJ_2", attempt=1)).is_counted


async def test_a_report_of_another_attempt_changes_nothing_of_the_session(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.READY, attempt=9)])
        await handled(redis, 1)
    assert await get_session(database, row.id) == row


@pytest.mark.parametrize(
    "poison",
    [{ENVELOPE_FIELD: "not json"}, {"other": "field"}],
    ids=["no json", "no envelope"],
)
async def test_what_is_no_report_is_set_aside_and_holds_up_nothing(
    database: Database,
    redis: Redis,
    relay: Relay,
    clock: FakeClock,
    row: SessionRow,
    poison: dict[Any, Any],
) -> None:
    await redis.xadd(REPORTS_STREAM, poison)
    await publish(redis, REPORTS_STREAM, [a_report(row, Step.READY)])
    async with consuming(database, redis, relay, clock):
        await handled(redis, 2)
    assert (await get_session(database, row.id)).ready_at == AT
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 1


@pytest.mark.parametrize(
    "poison",
    [
        {"error": {"type": "ValueError", "message": "bad byte: \x00"}},
        {"reason": "\x00"},
        {"attempt": 2**31},
    ],
    ids=["nul in the error", "nul in the reason", "a number too large"],
)
async def test_a_report_that_the_database_refuses_holds_up_no_other(
    database: Database,
    redis: Redis,
    relay: Relay,
    clock: FakeClock,
    row: SessionRow,
    poison: dict[str, Any],
) -> None:
    await publish(redis, REPORTS_STREAM, [a_report(row, Step.ERROR, **poison), a_report(row, Step.READY)])
    async with consuming(database, redis, relay, clock):
        await handled(redis, 2)
    assert (await get_session(database, row.id)).ready_at == AT


async def test_the_refusal_of_one_worker_is_forgotten_when_another_takes_the_job(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    error = {"type": "InferenceFault", "message": "answers 429", "cause": "inference_quota"}
    refused = a_report(row, Step.REJECTED, worker_id="worker-1", reason="inference", error=error)
    taken = a_report(row, Step.ACCEPTED, worker_id="worker-2")
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [refused])
        await handled(redis, 1)
        [attempt] = await get_attempts(database, row.id)
        assert attempt.error is not None
        assert (attempt.close_reason, attempt.error["cause"]) == ("inference", "inference_quota")
        assert attempt.reported_at is None, "a worker that reports nothing may take the job yet"
        await publish(redis, REPORTS_STREAM, [taken])
        await handled(redis, 2)
    [attempt] = await get_attempts(database, row.id)
    assert attempt.reported_at == AT
    assert (attempt.close_reason, attempt.error, attempt.worker_id) == (None, None, "worker-2")


async def test_what_an_agent_that_was_removed_reports_is_not_the_session_s_agent_s_end(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with database.write() as db:
        stored = await db.get_one(SessionRow, row.id)
        stored.status, stored.agent_identity = SessionStatus.ACTIVE, "agent-AJ_1"
    extra = a_report(row, Step.CLOSED, job_id="AJ_2", participant_identity="agent-AJ_2", reason="removed")
    ours = a_report(row, Step.READY, participant_identity="agent-AJ_1")
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [extra, ours])
        await handled(redis, 2)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.closed_at, attempt.ready_at, attempt.job_id) == (None, AT, "AJ_1")


async def test_what_a_second_job_of_the_attempt_reports_is_not_written_down(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with consuming(database, redis, relay, clock):
        first = [a_report(row, step) for step in (Step.ACCEPTED, Step.ENTRYPOINT_STARTED)]
        other = {"job_id": "AJ_2", "worker_id": "worker-2"}
        second = [
            a_report(row, Step.ACCEPTED, **other),
            a_report(row, Step.CLOSED, reason="late", **other),
            a_report(row, Step.REJECTED, reason="late", **other),
        ]
        await publish(redis, REPORTS_STREAM, [*first, *second])
        await handled(redis, 5)
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.job_id, attempt.worker_id) == ("AJ_1", "worker-1")
    assert (attempt.closed_at, attempt.rejected_at, attempt.close_reason) == (None, None, None)


async def test_ready_is_only_a_hint_where_the_session_requires_it(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).required_level = "ready"
    async with consuming(database, redis, relay, clock):
        await publish(redis, REPORTS_STREAM, [a_report(row, Step.READY)])
        await handled(redis, 1)
    assert (await get_session(database, row.id)).ready_at is None
    assert "agent.ready.v1" not in await event_types(database, row.id)
    [attempt] = await get_attempts(database, row.id)
    assert attempt.ready_at == AT


async def test_reports_wait_for_a_database_that_has_to_be_mended(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, row: SessionRow
) -> None:
    """None is acknowledged and none becomes a dead letter, and those that come later wait behind them."""

    async def rename(before: str, after: str) -> None:
        async with database.write() as db:
            await db.execute(text(f"ALTER TABLE dispatch_attempt RENAME COLUMN {before} TO {after}"))

    async def taken(entries: int) -> bool:
        return await redis.exists(REPORTS_STREAM) == 1 and any(
            group["name"] == GROUP and group["pending"] >= entries
            for group in await redis.xinfo_groups(REPORTS_STREAM)
        )

    await rename("worker_id", "gone")
    try:
        async with consuming(database, redis, relay, clock):
            await publish(redis, REPORTS_STREAM, [a_report(row, Step.ACCEPTED)])
            await until(lambda: taken(1), what="the report is taken", timeout_s=20)
            await publish(redis, REPORTS_STREAM, [a_report(row, Step.CONNECTED)])
            await until(database_unfit(database), what="the fault is noticed", timeout_s=20)
            assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
            await rename("gone", "worker_id")
            await handled(redis, 2)
    finally:
        if "dispatch_attempt.worker_id" in await missing_columns(database):
            await rename("gone", "worker_id")
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    [attempt] = await get_attempts(database, row.id)
    assert (attempt.assigned_at, attempt.connected_at) == (AT, AT)


def database_unfit(database: Database) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return database.state.what_fails() is not None

    return told
