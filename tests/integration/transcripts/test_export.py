"""Exports as a client gets them: whole, with their media types and file names."""

import json

import pytest

from shared.contracts.sessions import Role
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import FakeClock

TURNS = 1203  # more than are read from the database at once


@pytest.fixture
async def session_id(database: Database) -> str:
    row = await put_session(database)
    turns = [
        a_turn(row.id, seq, text=f"Turn {seq} <ü> &", role=[Role.USER, Role.ASSISTANT][seq % 2])
        for seq in range(1, TURNS + 1)
    ]
    await store_turns(database, turns, now=FakeClock())
    return row.id


MEDIA_TYPES = {
    "jsonl": ("application/jsonl", "jsonl", f"Turn {TURNS} <ü> &"),
    "txt": ("text/plain; charset=utf-8", "txt", f"user: Turn {TURNS - 1} <ü> &"),
    "vtt": ("text/vtt; charset=utf-8", "vtt", f"Turn {TURNS} &lt;ü&gt; &amp;</v>"),
    "csv": ("text/csv; charset=utf-8; header=present", "csv", f"Turn {TURNS} <ü> &"),
    "openai": ("application/json", "openai.json", f"Turn {TURNS} <ü> &"),
    "vcon": ("application/vcon+json", "vcon", f"Turn {TURNS} <ü> &"),
}


@pytest.mark.parametrize("name", MEDIA_TYPES)
async def test_an_export_is_whole_and_says_what_it_is(
    database_url: str, redis_url: str, session_id: str, name: str
) -> None:
    media_type, suffix, last = MEDIA_TYPES[name]
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get(f"/v1/sessions/{session_id}/transcript", params={"format": name})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == f'attachment; filename="transcript-{session_id}.{suffix}"'
    assert answer.headers["vary"] == "Accept"
    text = answer.content.decode()
    assert last in text
    assert sum(f"Turn {seq} " in text for seq in range(1, TURNS + 1)) == TURNS


@pytest.mark.parametrize("accept", ["text/vtt", "text/csv", "application/vcon+json"])
async def test_the_accept_header_asks_for_an_export_too(
    database_url: str, redis_url: str, session_id: str, accept: str
) -> None:
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get(f"/v1/sessions/{session_id}/transcript", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(accept)


async def test_without_a_wish_the_answer_is_json_in_pages(
    database_url: str, redis_url: str, session_id: str
) -> None:
    path = f"/v1/sessions/{session_id}/transcript"
    async with in_process(api_settings(database_url, redis_url)) as client:
        first = (await client.get(path)).json()
        second = (await client.get(path, params={"after_seq": first["next_after_seq"]})).json()
    assert [item["seq"] for item in first["items"] + second["items"]] == list(range(1, TURNS + 1))
    assert second["next_after_seq"] is None
    assert first["summary"]["turns"] == TURNS


@pytest.mark.parametrize("name", MEDIA_TYPES)
async def test_an_export_of_what_is_not_there_is_a_404(database_url: str, redis_url: str, name: str) -> None:
    async with in_process(api_settings(database_url, redis_url)) as client:
        answer = await client.get("/v1/sessions/no-such/transcript", params={"format": name})
    assert answer.status_code == 404
    assert json.loads(answer.content)["code"] == "session_not_found"
