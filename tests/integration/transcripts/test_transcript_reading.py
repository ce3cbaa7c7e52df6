"""A transcript says whether it is complete, what is missing and since when, and has a summary."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.transcripts.read.completeness import CLOSING_GRACE, GAP_PATIENCE, MAX_MISSING
from services.api.transcripts.read.conversation import call_started_at, each_turn, read_conversation
from services.api.transcripts.schemas import Transcript, TranscriptState
from shared.contracts.sessions import Role, SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import T0, FakeClock, make_attempt

pytestmark = pytest.mark.sql

ENDED_AT = T0 + timedelta(minutes=1)
LONG_AFTER = ENDED_AT + timedelta(hours=1)
R, C, U = TranscriptState.RUNNING, TranscriptState.CLOSED, TranscriptState.UNCLOSED


async def read(
    database: Database,
    session_id: str,
    *,
    now: datetime = LONG_AFTER,
    limit: int = 5000,
    after_seq: int = 0,
) -> Transcript:
    async with database.snapshot() as db:
        return await read_conversation(
            db, session_id, project="default", limit=limit, after_seq=after_seq, now=now
        )


async def store(database: Database, session_id: str, *seqs: int, at: datetime = T0, **fields: Any) -> None:
    await store_turns(database, [a_turn(session_id, seq, **fields) for seq in seqs], now=FakeClock(at))


async def change(database: Database, session_id: str, **values: Any) -> None:
    async with database.write() as db:
        await db.execute(update(SessionRow).where(col(SessionRow.id) == session_id).values(**values))


@pytest.fixture
async def call(database: Database) -> str:
    """A call that an agent is in."""
    row = await put_session(
        database, status=SessionStatus.ACTIVE, active_at=T0, attempt={"number": 1, "connected_at": T0}
    )
    return row.id


async def end(database: Database, session_id: str, *, expected: int | None, attempt: int = 1) -> None:
    """End the call; with its agent's closing report, if a number of turns is expected."""
    async with database.write() as db:
        row = await db.get(SessionRow, session_id)
        assert row is not None
        row.status, row.ended_at = SessionStatus.ENDED, ENDED_AT
        if expected is not None:
            said = {"closed_at": ENDED_AT, "counted_at": ENDED_AT, "expected_turns": expected}
            await db.merge(make_attempt(row, number=attempt, connected_at=T0, **said))


async def count(
    database: Database, session_id: str, *, attempt: int, turns: int, first_seq: int = 1, **fields: Any
) -> None:
    """An attempt whose agent, or its worker, said how many turns it had."""
    async with database.write() as db:
        row = await db.get_one(SessionRow, session_id)
        values = {"connected_at": T0, "counted_at": T0, "expected_turns": turns, "first_seq": first_seq}
        await db.merge(make_attempt(row, number=attempt, **values, **fields))


def said(found: Transcript) -> tuple[TranscriptState, bool | None, list[int]]:
    return found.state, found.complete, found.missing


async def test_of_a_running_call_nobody_knows_whether_it_is_complete(database: Database, call: str) -> None:
    await store(database, call, 1, 2)
    assert said(await read(database, call)) == (R, None, [])


async def test_a_gap_in_a_running_call_is_shown_at_once_and_held_against_it_a_little_later(
    database: Database, call: str
) -> None:
    await store(database, call, 1, 3, at=T0)
    found = await read(database, call, now=T0 + GAP_PATIENCE)
    assert said(found) == (R, None, [2])
    found = await read(database, call, now=T0 + GAP_PATIENCE + timedelta(seconds=1))
    assert said(found) == (R, False, [2])
    assert found.missing_since == T0


async def test_a_call_whose_agent_gave_its_count_is_complete_when_all_are_there(
    database: Database, call: str
) -> None:
    await store(database, call, 1, 3)
    await end(database, call, expected=4)
    assert said(await read(database, call)) == (C, False, [2, 4])
    await store(database, call, 4)
    assert said(await read(database, call)) == (C, False, [2])
    await store(database, call, 2, at=LONG_AFTER)
    found = await read(database, call)
    assert said(found) == (C, True, [])
    assert (found.missing_count, found.missing_since) == (0, None)


async def test_turns_missing_at_the_end_are_missing_since_the_agent_counted_them(
    database: Database, call: str
) -> None:
    await store(database, call, 1)
    await end(database, call, expected=2)
    assert (await read(database, call)).missing_since == ENDED_AT


async def test_a_crash_without_a_closing_report_is_told_apart_from_a_call_still_running(
    database: Database, call: str
) -> None:
    await store(database, call, 1, 2)
    await end(database, call, expected=None)
    # Right after the end the report may still be on its way.
    assert said(await read(database, call, now=ENDED_AT)) == (R, None, [])
    assert said(await read(database, call, now=ENDED_AT + CLOSING_GRACE)) == (U, None, [])
    await store(database, call, 5)
    assert said(await read(database, call)) == (U, False, [3, 4])


async def test_the_count_of_an_agent_that_was_replaced_closes_nothing(database: Database, call: str) -> None:
    await store(database, call, 1, 2, 3)
    await end(database, call, expected=2)
    async with database.write() as db:
        row = await db.get(SessionRow, call)
        assert row is not None
        db.add(make_attempt(row, number=2, connected_at=T0))
    assert said(await read(database, call)) == (U, None, [])


async def test_an_attempt_is_judged_by_its_own_numbers_and_those_left_free_are_nobodys(
    database: Database, call: str
) -> None:
    await count(database, call, attempt=1, turns=3)
    await count(database, call, attempt=2, turns=2, first_seq=1003)
    await store(database, call, 1, 2)
    await store(database, call, 1003, 1004, attempt=2)
    await change(database, call, status=SessionStatus.ENDED, ended_at=ENDED_AT)
    found = await read(database, call)
    assert (*said(found), found.missing_count, found.missing_since) == (C, False, [3], 1, T0)
    await store(database, call, 3)
    assert said(await read(database, call)) == (C, True, [])


async def test_gaps_of_several_attempts_are_named_together(database: Database, call: str) -> None:
    await count(database, call, attempt=1, turns=3)
    await count(database, call, attempt=2, turns=4, first_seq=1003)
    await store(database, call, 1, 3)
    await store(database, call, 1004, 1005, attempt=2)
    found = await read(database, call)
    assert (found.missing, found.missing_count) == ([2, 1003, 1006], 3)


async def test_a_number_that_two_attempts_used_is_the_turn_of_each(database: Database, call: str) -> None:
    await count(database, call, attempt=1, turns=3)
    await count(database, call, attempt=2, turns=1, first_seq=2)
    await store(database, call, 1, 3)
    await store(database, call, 2, attempt=2, item_id="of the second")
    await change(database, call, status=SessionStatus.ENDED, ended_at=ENDED_AT)
    assert said(await read(database, call)) == (C, False, [2])


async def test_what_is_missing_of_a_dead_agent_in_a_running_call_is_held_against_it_a_little_later(
    database: Database, call: str
) -> None:
    await store(database, call, 1)
    await count(database, call, attempt=1, turns=2)
    assert said(await read(database, call, now=T0 + GAP_PATIENCE)) == (R, None, [2])
    assert said(await read(database, call)) == (R, False, [2])


async def test_one_attempt_that_nobody_counted_leaves_the_call_unclosed(
    database: Database, call: str
) -> None:
    await count(database, call, attempt=2, turns=1, first_seq=1002)
    await store(database, call, 1)
    await store(database, call, 1002, attempt=2)
    await change(database, call, status=SessionStatus.ENDED, ended_at=ENDED_AT)
    assert said(await read(database, call)) == (U, None, [])
    await count(database, call, attempt=1, turns=1)
    assert said(await read(database, call)) == (C, True, [])


async def test_an_attempt_whose_agent_never_came_had_nothing_to_say(database: Database, call: str) -> None:
    await store(database, call, 1, 2)
    await end(database, call, expected=2)
    async with database.write() as db:
        row = await db.get(SessionRow, call)
        assert row is not None
        db.add(make_attempt(row, number=2))
    assert said(await read(database, call)) == (C, True, [])


async def test_a_count_does_not_end_a_call_that_goes_on(database: Database, call: str) -> None:
    await store(database, call, 1, 2)
    await count(database, call, attempt=1, turns=2)
    assert said(await read(database, call)) == (R, None, [])


async def test_where_no_agent_ever_came_nothing_is_missing_and_nothing_complete(database: Database) -> None:
    row = await put_session(database, status=SessionStatus.FAILED, ended_at=ENDED_AT, attempt={"number": 1})
    assert said(await read(database, row.id)) == (C, None, [])


async def test_a_conversation_without_a_word_is_complete(database: Database, call: str) -> None:
    await end(database, call, expected=0)
    found = await read(database, call)
    assert (*said(found), found.items) == (C, True, [], [])


async def test_a_number_out_of_this_world_names_only_the_first_that_are_missing(
    database: Database, call: str
) -> None:
    await store(database, call, 2, 2_000_000_000)
    found = await read(database, call)
    assert found.missing == [1, *range(3, MAX_MISSING + 2)]
    assert found.missing_count == 2_000_000_000 - 2


async def test_turns_are_in_the_order_they_were_spoken_however_they_arrived(
    database: Database, call: str
) -> None:
    for batch in ([10, 2], [1], [9, 3, 11]):
        await store(database, call, *batch)
    found = await read(database, call)
    assert [item.seq for item in found.items] == [1, 2, 3, 9, 10, 11]
    assert found.missing == [4, 5, 6, 7, 8]


async def test_turns_of_the_same_number_are_in_the_order_of_their_time_and_never_torn_apart(
    database: Database, call: str
) -> None:
    await store(database, call, 1)
    await store(database, call, 3, created_at=T0 + timedelta(seconds=3))
    for name, second in (("later", 2), ("earlier", 1)):
        await store(database, call, 2, item_id=name, created_at=T0 + timedelta(seconds=second))
    first = await read(database, call, limit=2)
    assert [item.id for item in first.items] == ["item_1", "earlier", "later"]
    assert first.next_after_seq == 2
    second_page = await read(database, call, limit=2, after_seq=2)
    assert [item.seq for item in second_page.items] == [3]
    assert second_page.next_after_seq is None


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_hold_every_turn_once(database: Database, call: str, limit: int) -> None:
    await store(database, call, *range(1, 8))
    seen: list[int] = []
    after = 0
    while True:
        page = await read(database, call, limit=limit, after_seq=after)
        assert (page.summary is None) == (after > 0)
        assert page.complete is None
        seen += [item.seq for item in page.items]
        if page.next_after_seq is None:
            break
        after = page.next_after_seq
    assert seen == list(range(1, 8))


async def test_a_long_conversation_is_exported_turn_by_turn_without_a_gap(
    database: Database, call: str
) -> None:
    await store(database, call, *range(1, 1203))
    await store(database, call, 500, item_id="twin")
    turns = [turn.seq async for turn in each_turn(database.snapshot, call, T0)]
    assert turns == sorted([*range(1, 1203), 500])


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


async def test_times_count_from_the_beginning_of_the_call(database: Database, call: str) -> None:
    await store(database, call, 1, started_at=at(1.5), ended_at=at(3.25), created_at=at(4))
    await store(database, call, 2, created_at=at(5))
    first, second = (await read(database, call)).items
    assert (first.offset_s, first.duration_s) == (1.5, 1.75)
    assert (second.offset_s, second.duration_s) == (5.0, None)


async def test_a_turn_before_the_agent_was_seen_begins_the_call(database: Database, call: str) -> None:
    await change(database, call, active_at=at(10))
    await store(database, call, 1, started_at=at(8))
    async with database.read() as db:
        row = await db.get(SessionRow, call)
        assert row is not None
        assert await call_started_at(db, row) == at(8)
    assert [item.offset_s for item in (await read(database, call)).items] == [0.0]


async def test_latencies_have_the_names_of_the_sdk_and_what_is_no_number_is_left_out(
    database: Database, call: str
) -> None:
    metrics = {"transcription_delay": 0.2, "end_of_turn_delay": 0.5, "on_user_turn_completed_delay": 0.1}
    await store(database, call, 1, metrics=metrics)
    [turn] = (await read(database, call)).items
    assert turn.latencies.model_dump() == {
        "transcription_delay": 0.2,
        "end_of_turn_delay": 0.5,
        "llm_node_ttft": None,
        "tts_node_ttfb": None,
        "e2e_latency": None,
    }
    assert turn.metrics == metrics


async def test_a_summary_sums_up_every_turn(database: Database, call: str) -> None:
    for seq in range(1, 21):
        await store(
            database,
            call,
            seq,
            role=Role.ASSISTANT,
            text="three short words",
            interrupted=seq <= 3,
            started_at=at(seq),
            ended_at=at(seq + 0.5),
            metrics={"e2e_latency": seq / 10, "llm_node_ttft": 0.1},
        )
    await store(database, call, 21, text="only these four words")
    await store(database, call, 22, role=Role.TOOL, kind="function_call", text="f({})")
    summary = (await read(database, call, limit=1)).summary
    assert summary is not None
    assert summary.model_dump() == {
        "turns": 22,
        "words": 64,
        "interruptions": 3,
        "by_role": {
            "assistant": {"turns": 20, "words": 60, "interrupted": 3, "talk_time_s": 10.0},
            "tool": {"turns": 1, "words": 0, "interrupted": 0, "talk_time_s": 0.0},
            "user": {"turns": 1, "words": 4, "interrupted": 0, "talk_time_s": 0.0},
        },
        "latencies": {
            "llm_node_ttft": {"p50": 0.1, "p95": 0.1, "count": 20},
            "e2e_latency": {"p50": 1.0, "p95": 1.9, "count": 20},
        },
    }


async def test_what_is_not_there_is_a_404(database: Database) -> None:
    with pytest.raises(Problem) as raised:
        await read(database, "no-such-session")
    assert (raised.value.status, raised.value.code) == (404, "session_not_found")


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "5001"},
        {"after_seq": "-1"},
        {"after_seq": str(2**31)},
        {"format": "docx"},
    ],
)
async def test_a_request_that_means_nothing_is_a_422(
    database_url: str, redis_url: str, params: dict[str, str]
) -> None:
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get("/v1/sessions/any/transcript", params=params)
    assert answer.status_code == 422
