"""`rollcall transcript` and `rollcall search` against a real API."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cli.client.client import ApiError
from cli.render.transcript import export_transcript, show_search, show_transcript
from shared.contracts.sessions import Role
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, served
from tests.integration.rows import a_turn, put_session, store_turns


def console() -> Console:
    return Console(file=io.StringIO(), width=200, soft_wrap=True, highlight=False)


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


async def put_call(database: Database) -> str:
    row = await put_session(database)
    await store_turns(
        database,
        [
            a_turn(row.id, 1, role=Role.ASSISTANT, text="Hello", metrics={"e2e_latency": 0.5}),
            a_turn(row.id, 2, text="\x1b[2JMy order [red]4711[/red]"),
        ],
    )
    return row.id


async def test_a_conversation_is_shown_exported_and_found(
    database_url: str, redis_url: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    database = Database(database_url)
    session_id = await put_call(database)
    async with served(api_settings(database_url, redis_url)) as client:
        url = str(client.base_url)
        screen = console()
        await show_transcript(url, session_id, screen)
        assert "assistant  Hello" in shown(screen)
        assert "[2JMy order [red]4711[/red]" in shown(screen)
        assert "\x1b" not in shown(screen)
        assert "the call is still running" in shown(screen)
        assert "e2e_latency: p50 500 ms, p95 500 ms (1 turns)" in shown(screen)

        file = tmp_path / "call.vtt"
        await export_transcript(url, session_id, "vtt", file)
        assert file.read_text().startswith("WEBVTT")
        capfdbinary.readouterr()
        await export_transcript(url, session_id, "jsonl", None)
        assert capfdbinary.readouterr().out.count(b"\n") == 2

        screen = console()
        await show_search(url, "order 4711", 20, screen, role="user", agent_name=None)
        assert session_id in shown(screen)
        screen = console()
        await show_search(url, "nothing", 20, screen)
        assert "nothing was found" in shown(screen)
        with pytest.raises(ApiError, match="quotation mark"):
            await show_search(url, '"', 20, console())
        with pytest.raises(ApiError, match="session_not_found"):
            await show_transcript(url, "nobody", console())
        with pytest.raises(ApiError, match="session_not_found"):
            await export_transcript(url, "nobody", "txt", None)
    await database.close()


async def test_an_api_that_is_away_is_said_to_be() -> None:
    nowhere = "http://127.0.0.1:9"
    for work in (
        show_transcript(nowhere, "s", console()),
        export_transcript(nowhere, "s", "txt", None),
        show_search(nowhere, "a", 1, console()),
    ):
        with pytest.raises(ApiError, match="no answer from the API"):
            await work
