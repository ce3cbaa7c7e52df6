"""All code that shows a conversation or hands it over uses the order of speech, on both databases."""

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rollcall_agent.job.resume import as_context, awaits_reply
from services.dispatcher.repository import HISTORY_TURNS, Repository
from shared.contracts.sessions import Role
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql


def at(second: float) -> Any:
    return T0 + timedelta(seconds=second)


def said(
    session_id: str, seq: int, name: str, began: float, ended: float | None = None, **fields: Any
) -> Any:
    """A turn as a realtime model's session has it: the caller's is told after the answer to it."""
    role = Role.USER if name.startswith("question") else Role.ASSISTANT
    times = {"created_at": at(began), "started_at": at(began), "ended_at": at(ended or began + 1)}
    return a_turn(session_id, seq, **{"item_id": name, "text": name, "role": role, **times, **fields})


async def realtime_call(database: Database) -> str:
    """Two answers, each published before its question; a tool between; and an agent that was revived."""
    row = await put_session(database, active_at=T0)
    tool: dict[str, Any] = {"role": "tool", "started_at": None, "ended_at": None}
    asked, got = {"call_id": "c1", "name": "f", "arguments": "{}"}, {"call_id": "c1", "name": "f"}
    turns = [
        said(row.id, 1, "answer 1", 3, 5),
        said(row.id, 2, "question 1", 1, 2),
        said(row.id, 3, "call", 7, kind="function_call", extra=asked, **tool),
        said(row.id, 4, "result", 12, kind="function_call_output", extra=got, **tool),
        said(row.id, 5, "answer 2", 10, 14),
        said(row.id, 6, "question 2", 6, 6.5),
        # The clock of the host to which the next agent came is an hour behind.
        said(row.id, 1007, "answer 3", -3596, attempt=2),
        said(row.id, 1008, "question 3", -3598, attempt=2),
    ]
    await store_turns(database, turns, now=FakeClock())
    return row.id


SPEECH = ["question 1", "answer 1", "question 2", "call", "result", "answer 2", "question 3", "answer 3"]
MESSAGES = [name for name in SPEECH if name not in ("call", "result")]


@pytest.fixture
async def call(database: Database) -> str:
    return await realtime_call(database)


async def get(database_url: str, redis_url: str, session_id: str, **params: Any) -> httpx.Response:
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get(f"/v1/sessions/{session_id}/transcript", params=params)
    assert answer.status_code == 200, answer.text
    return answer


async def test_every_export_is_in_the_order_of_speech(
    database: Database, database_url: str, redis_url: str, call: str
) -> None:
    texts = {
        name: (await get(database_url, redis_url, call, format=name)).text
        for name in ("json", "jsonl", "txt", "vtt", "csv", "openai", "vcon")
    }
    whole = json.loads(texts["json"])
    assert [item["text"] for item in whole["items"]] == SPEECH
    # What was published in which order stays known, and completeness rests on it.
    assert [item["seq"] for item in whole["items"]] == [2, 1, 6, 3, 4, 5, 1008, 1007]
    offsets = [item["offset_s"] for item in whole["items"]]
    assert offsets == sorted(offsets)
    assert offsets[-1] - offsets[-2] == 2
    assert [json.loads(line)["text"] for line in texts["jsonl"].splitlines()] == SPEECH
    assert [line.split(": ")[1] for line in texts["txt"].splitlines()] == SPEECH
    rows = list(csv.DictReader(io.StringIO(texts["csv"], newline="")))
    assert [row["text"] for row in rows] == SPEECH
    assert [row["offset_s"] for row in rows] == [str(offset) for offset in offsets]
    dialogs = json.loads(texts["vcon"])["dialog"]
    assert [dialog["body"] for dialog in dialogs] == MESSAGES
    contents = [message["content"] for message in json.loads(texts["openai"])["messages"]]
    assert contents == ["question 1", "answer 1", "question 2", None, "result", *MESSAGES[3:]]
    cues = re.findall(r"^(\S+) --> (\S+)$", texts["vtt"], re.MULTILINE)
    assert [start for start, _ in cues] == sorted(start for start, _ in cues)
    assert all(start < end for start, end in cues)
    assert re.findall(r">(.*)</v>", texts["vtt"]) == MESSAGES


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
async def test_pages_together_are_the_conversation_in_the_order_of_speech(
    database: Database, database_url: str, redis_url: str, call: str, limit: int
) -> None:
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = (await get(database_url, redis_url, call, limit=limit, after_seq=after)).json()
        assert all(item["seq"] > after for item in page["items"])
        assert len(page["items"]) <= limit + 3, "a page is longer than what belongs together"
        seen += [item["text"] for item in page["items"]]
        after = page["next_after_seq"]
    assert seen == SPEECH


async def test_an_agent_that_takes_over_is_told_what_was_said_in_its_order_and_answers_nothing_twice(
    database: Database, repository: Repository, call: str
) -> None:
    past = await repository.history(call)
    assert [turn.text for turn in past] == SPEECH
    assert not awaits_reply(past)
    assert [item.id for item in as_context(past).items] == SPEECH
    times = [item.created_at for item in as_context(past).items]
    assert times == sorted(times)


async def test_the_newest_turns_that_are_handed_over_are_those_that_were_said_last(
    database: Database, repository: Repository
) -> None:
    row = await put_session(database)
    turns = [a_turn(row.id, seq, created_at=at(seq)) for seq in range(1, HISTORY_TURNS + 1)]
    early = said(row.id, HISTORY_TURNS + 1, "question of long ago", 0.5)
    await store_turns(database, [*turns, early])
    assert [turn.item_id for turn in await repository.history(row.id)] == [turn.item_id for turn in turns]


async def test_offsets_count_from_the_first_word_and_not_from_the_first_number(
    database: Database, database_url: str, redis_url: str
) -> None:
    row = await put_session(database)
    turns = [said(row.id, 1, "answer", 3), said(row.id, 2, "question", 1)]
    await store_turns(database, turns)
    items = (await get(database_url, redis_url, row.id)).json()["items"]
    assert [(item["text"], item["offset_s"]) for item in items] == [("question", 0.0), ("answer", 2.0)]
