"""A session changes by compare-and-set, together with its event, whatever other writers do."""

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import (
    AgentJoined,
    AgentMissing,
    AgentReady,
    DispatchAccepted,
    DispatchStarted,
    Event,
    SessionCancelled,
)
from shared.contracts.sessions import InvalidTransition, SessionStatus
from shared.core.sessions.repository import add_session, advance, claim, fail, insert_session, record
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from shared.platform.database.errors import is_unique_violation
from tests.integration.rows import REQUESTED, event_types, get_events, get_session, put_session
from tests.unit.making import T0, make_session

pytestmark = pytest.mark.sql

S = SessionStatus
STARTED = DispatchStarted(attempt=1, max_attempts=3)


async def move(
    database: Database, row: SessionRow, status: SessionStatus, event: Event, **changes: Any
) -> bool:
    async with database.write() as db:
        return await advance(db, row, status, event=event, now=T0, **changes)


async def test_a_transition_writes_the_row_and_its_event_together(database: Database) -> None:
    row = await put_session(database)
    assert await move(database, row, S.DISPATCHING, STARTED, attempt=1)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.attempt, stored.version, stored.last_sequence) == (S.DISPATCHING, 1, 2, 2)
    first, second = await get_events(database, row.id)
    assert (first.sequence, second.sequence) == (1, 2)
    started = {"attempt": 1, "max_attempts": 3, "worker_id": None}
    assert (second.type, second.data) == ("dispatch.started.v1", started)
    assert second.published_at is None


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_session_is_the_same_whichever_way_it_was_written(database: Database) -> None:
    told = {"project": "ours", "client_metadata": {"a": [1]}, "next_check_at": T0, "traceparent": "00-a-b-01"}
    within, alone = (make_session(**told) for _ in range(2))
    async with database.write() as db:
        await add_session(db, within, event=REQUESTED)
    async with database.autocommit() as db:
        await insert_session(db, alone, event=REQUESTED)
    assert await as_stored(database, alone) == await as_stored(database, within)


async def as_stored(database: Database, row: SessionRow) -> list[dict[str, Any]]:
    """The rows as the database has them, not as we read them, but for what tells one from another."""
    async with database.read() as db:
        about = {"id": row.id}
        [session] = (await db.execute(text("SELECT * FROM session WHERE id = :id"), about)).mappings()
        [event] = (
            await db.execute(text("SELECT * FROM session_event WHERE session_id = :id"), about)
        ).mappings()
    own = {"id", "room_name", "session_id"}
    return [{name: found[name] for name in found if name not in own} for found in (session, event)]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_session_whose_room_is_taken_leaves_no_trace(database: Database) -> None:
    first, second = (make_session(room_name="lobby") for _ in range(2))
    async with database.autocommit() as db:
        await insert_session(db, first, event=REQUESTED)
    with pytest.raises(IntegrityError) as refused:
        async with database.autocommit() as db:
            await insert_session(db, second, event=REQUESTED)
    assert is_unique_violation(refused.value)
    assert await event_types(database, first.id) == ["session.requested.v1"]
    assert await event_types(database, second.id) == []


async def test_the_winners_copy_is_brought_up_to_date(database: Database) -> None:
    row = await put_session(database)
    await move(database, row, S.DISPATCHING, STARTED, attempt=1)
    assert row == await get_session(database, row.id)
    assert await move(database, row, S.DISPATCHED, DispatchAccepted(attempt=1, dispatch_id="AD_1"))


async def test_a_transition_that_is_rolled_back_leaves_no_event(database: Database) -> None:
    row = await put_session(database)

    async def break_off() -> None:
        async with database.write() as db:
            await advance(db, row, S.DISPATCHING, event=STARTED, now=T0)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await break_off()
    assert (await get_session(database, row.id)).status == S.REQUESTED
    assert await event_types(database, row.id) == ["session.requested.v1"]


async def test_of_two_writers_who_read_the_same_row_exactly_one_wins(database: Database) -> None:
    session_id = (await put_session(database)).id
    rows = [await get_session(database, session_id) for _ in range(8)]
    won = await asyncio.gather(*(move(database, row, S.DISPATCHING, STARTED, attempt=1) for row in rows))
    assert sorted(won) == [False] * 7 + [True]
    assert await event_types(database, session_id) == ["session.requested.v1", "dispatch.started.v1"]
    stored = await get_session(database, session_id)
    for row, has_won in zip(rows, won, strict=True):
        if has_won:
            assert row == stored
        else:
            assert (row.status, row.version, row.attempt) == (S.REQUESTED, 1, 0)


async def test_a_stale_reader_loses_even_when_the_status_came_round_again(database: Database) -> None:
    row = await put_session(database)
    await move(database, row, S.DISPATCHING, STARTED, attempt=1)
    stale = await get_session(database, row.id)
    await move(database, row, S.DISPATCHED, DispatchAccepted(attempt=1, dispatch_id="AD_1"))
    await move(database, row, S.DISPATCHING, AgentMissing(attempt=1, cause=Cause.UNKNOWN), attempt=2)
    assert stale.status == (await get_session(database, row.id)).status == S.DISPATCHING
    assert not await move(database, stale, S.DISPATCHED, DispatchAccepted(attempt=1, dispatch_id="AD_0"))
    assert (await get_session(database, row.id)).status == S.DISPATCHING
    assert "AD_0" not in str([event.data for event in await get_events(database, row.id)])


async def test_a_forbidden_edge_raises_and_writes_nothing(database: Database) -> None:
    row = await put_session(database)
    joined = AgentJoined(attempt=1, participant_identity="a", participant_sid="PA_1", join_seconds=1)
    with pytest.raises(InvalidTransition):
        await move(database, row, S.ACTIVE, joined)
    assert await get_session(database, row.id) == row


async def test_a_terminal_session_is_never_left(database: Database) -> None:
    row = await put_session(database)
    await move(database, row, S.CANCELLED, SessionCancelled(reason="x"))
    with pytest.raises(InvalidTransition):
        await move(database, row, S.DISPATCHING, STARTED)


async def test_events_stay_gapless_when_notes_and_transitions_come_at_once(database: Database) -> None:
    row = await put_session(database)
    await move(database, row, S.DISPATCHING, STARTED, attempt=1)

    async def note(attempt: int) -> None:
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=attempt), now=T0)

    accepted = DispatchAccepted(attempt=1, dispatch_id="AD_1")
    *_, won = await asyncio.gather(
        *(note(n) for n in range(10)),
        move(database, await get_session(database, row.id), S.DISPATCHED, accepted),
    )
    assert won  # a note changes no status, so it can't make a transition lose
    events = await get_events(database, row.id)
    assert [event.sequence for event in events] == list(range(1, 14))
    assert (await get_session(database, row.id)).last_sequence == 13
    assert sorted(e.data["attempt"] for e in events if e.type == "agent.ready.v1") == list(range(10))


async def test_a_note_sets_columns_and_keeps_the_version(database: Database) -> None:
    row = await put_session(database)
    async with database.write() as db:
        await record(db, row, AgentReady(attempt=1), now=T0, ready_at=T0)
    stored = await get_session(database, row.id)
    assert (stored.version, stored.ready_at, stored.last_sequence) == (1, T0, 2)


async def test_a_note_on_a_session_that_is_not_there_does_nothing(database: Database) -> None:
    unwritten = make_session()
    async with database.write() as db:
        await record(db, unwritten, AgentReady(attempt=1), now=T0)
    assert await get_events(database, unwritten.id) == []


async def test_of_many_claims_one_is_granted(database: Database) -> None:
    session_id = (await put_session(database)).id
    rows = [await get_session(database, session_id) for _ in range(8)]

    async def try_to_claim(row: SessionRow) -> bool:
        async with database.write() as db:
            return await claim(db, row, claimed_until=T0 + timedelta(seconds=5))

    assert sum(await asyncio.gather(*map(try_to_claim, rows))) == 1
    assert await event_types(database, session_id) == ["session.requested.v1"]


async def test_giving_up_records_the_cause_its_evidence_and_the_advice(database: Database) -> None:
    row = await put_session(database, claimed_until=T0, waiting_for=Cause.WORKERS_AT_CAPACITY)
    async with database.write() as db:
        assert await fail(db, row, cause=Cause.LIVEKIT_AUTH, evidence={"error": "401"}, now=T0)
    stored = await get_session(database, row.id)
    assert (stored.status, stored.cause, stored.evidence) == (S.FAILED, "livekit_auth", {"error": "401"})
    assert (stored.ended_at, stored.waiting_for, stored.claimed_until) == (T0, None, None)
    event = (await get_events(database, row.id))[-1]
    assert (event.type, event.severity) == ("session.failed.v1", "critical")
    assert event.data["advice"] == ADVICE[Cause.LIVEKIT_AUTH]


async def test_a_room_has_one_live_session_and_another_after_its_end(database: Database) -> None:
    first = await put_session(database, room_name="lobby")
    with pytest.raises(IntegrityError) as raised:
        await put_session(database, room_name="lobby")
    assert is_unique_violation(raised.value)
    await move(database, first, S.CANCELLED, SessionCancelled(reason="x"))
    second = await put_session(database, room_name="lobby")
    assert (await get_session(database, second.id)).status == S.REQUESTED


async def test_an_error_that_is_no_duplicate_is_not_taken_for_one(database: Database) -> None:
    async def orphan() -> None:
        async with database.write() as db:
            await db.execute(
                text(
                    "INSERT INTO session_event (session_id, sequence, id, type, severity, data, occurred_at)"
                    " VALUES ('nobody', 1, 'e', 't', 'info', '{}', '2026-11-23 12:00:00')"
                )
            )

    with pytest.raises(IntegrityError) as raised:
        await orphan()
    assert not is_unique_violation(raised.value)


async def test_everything_in_a_session_comes_back_as_it_went_in(database: Database) -> None:
    in_india = datetime(2026, 11, 23, 17, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    row = await put_session(
        database,
        requested_at=in_india,
        models={"llm": "openai/gpt-5-mini"},
        client_metadata={"name": "Zoë 🙂", "nested": {"list": [1, 2.5, None, True]}},
        instructions="Grüße!\nZweite Zeile.",
    )
    stored = await get_session(database, row.id)
    assert stored.requested_at == in_india
    assert stored.requested_at.utcoffset() == timedelta(0)
    assert stored.requested_at.microsecond == 123456
    assert stored.models == {"llm": "openai/gpt-5-mini"}
    assert stored.client_metadata == {"name": "Zoë 🙂", "nested": {"list": [1, 2.5, None, True]}}
    assert stored.instructions == "Grüße!\nZweite Zeile."
    assert stored.ended_at is None


async def test_times_compare_in_the_database_as_they_do_outside(database: Database) -> None:
    row = await put_session(database, next_check_at=T0)
    for offset, expected in ((-1, []), (0, [row.id]), (1, [row.id])):
        moment = (T0 + timedelta(microseconds=offset)).astimezone(timezone(timedelta(hours=-8)))
        async with database.read() as db:
            due = select(col(SessionRow.id)).where(col(SessionRow.next_check_at) <= moment)
            assert list((await db.scalars(due)).all()) == expected


async def test_a_reader_sees_one_state_while_a_writer_works(database: Database) -> None:
    row = await put_session(database)
    async with database.write() as db:
        await db.execute(update(SessionRow).where(col(SessionRow.id) == row.id).values(room_sid="RM_1"))
        assert (await get_session(database, row.id)).room_sid is None
    assert (await get_session(database, row.id)).room_sid == "RM_1"
