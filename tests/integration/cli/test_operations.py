"""Keys, webhooks, tokens and erasure on the command line, against a real API."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from services.api.auth.access import Scope
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, served
from tests.integration.cli.conftest import Run
from tests.integration.rows import a_turn, get_session, put_session, put_webhook, store_turns
from tests.support.keys import put_key
from tests.unit.making import T0


def json_of(done: Result) -> Any:
    """The JSON on standard output; the API, in the same process, may have logged there."""
    assert done.exit_code == 0, done.output
    begin = min(at for at in map(done.stdout.find, ('{"id', '{"keys', "{\n")) if at >= 0)
    return json.JSONDecoder().raw_decode(done.stdout[begin:])[0]


async def test_with_a_key_the_api_makes_lists_and_revokes_keys(
    database_url: str, redis_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await put_key(database, Scope.ADMIN, project="shop")
    await put_key(database, project="another")
    monkeypatch.setenv("ROLLCALL_API_KEY", admin["Authorization"].removeprefix("Bearer "))
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://nobody@127.0.0.1:9/none")

    async def rollcall(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["keys", *words])

    async with served(api_settings(database_url, redis_url, api_auth="keys")) as client:
        monkeypatch.setenv("ROLLCALL_URL", str(client.base_url))
        made = json_of(await rollcall("create", "backend", "--scope", "sessions:read", "--json"))
        assert (made["project"], made["scopes"]) == ("shop", ["sessions:read"])
        viewer = json_of(await rollcall("create", "anna", "--role", "viewer", "--json"))
        assert viewer["scopes"] == ["sessions:read"]
        listed = json_of(await rollcall("list", "--json"))["keys"]
        assert [key["name"] for key in listed] == ["test", "backend", "anna"]
        assert "backend" in (await rollcall("list")).stdout
        assert json_of(await rollcall("revoke", made["id"], "--json"))["revoked_at"]
        missing = await rollcall("revoke", "nobody")
        assert (missing.exit_code, missing.stdout) == (1, "")
        assert "key_not_found" in missing.stderr
        assert (await rollcall("revoke", "../sessions")).exit_code == 1
        refused = await rollcall("create", "page", "--publishable")
        assert refused.exit_code == 1
        assert "origin" in refused.stderr
        assert (await rollcall("list", "--project", "another")).exit_code == 2


async def test_an_endpoint_is_added_and_its_secret_shown(rollcall: Run) -> None:
    assert "webhooks add" in (await rollcall("webhooks", "list")).stdout
    url = "https://1.1.1.1/rollcall"  # no name that has to be looked up; nothing is sent there
    refused = await rollcall("webhooks", "add", "http://127.0.0.1/hook")
    assert refused.exit_code == 1
    assert "webhook_target_forbidden" in refused.stderr
    shown = await rollcall("webhooks", "add", url, "--event", "agent.*", "--min-severity", "warning")
    assert shown.exit_code == 0, shown.output
    for part in ("whsec_", url, "agent.*", "warning", "enabled"):
        assert part in shown.stdout


async def test_deliveries_are_shown_and_sent_again(rollcall: Run, database: Database) -> None:
    ids = await put_webhook(database, project="default")
    endpoint, event = ids["endpoint_id"], ids["event_id"]
    assert "https://hooks.example.com/" in (await rollcall("webhooks", "list")).stdout
    dead = (await rollcall("webhooks", "deliveries", endpoint, "--status", "dead")).stdout
    assert event in dead
    assert "session.failed.v1" in dead
    again = await rollcall("webhooks", "replay", endpoint, "--event", event)
    assert (again.exit_code, "pending" in again.stdout) == (0, True)
    assert (await rollcall("webhooks", "replay", endpoint)).exit_code == 2
    replayed = await rollcall("webhooks", "replay", endpoint, "--since", "2026-01-01T00:00:00Z")
    assert "0 events" in replayed.stdout
    assert json_of(await rollcall("webhooks", "test", endpoint, "--json"))["event_type"] == "webhook.test.v1"
    assert "disabled: by request" in (await rollcall("webhooks", "disable", endpoint)).stdout
    assert (await rollcall("webhooks", "test", endpoint)).exit_code == 1
    assert "enabled" in (await rollcall("webhooks", "enable", endpoint)).stdout
    rotated = (await rollcall("webhooks", "rotate", endpoint)).stdout
    assert "whsec_" in rotated
    assert "signs too until" in rotated
    assert (await rollcall("webhooks", "remove", endpoint)).exit_code == 0
    missing = await rollcall("webhooks", "deliveries", "../keys")
    assert (missing.exit_code, missing.stdout) == (1, "")


async def test_a_token_reserves_a_session(rollcall: Run, database: Database) -> None:
    said = ["--agent", "front desk", "-m", "customer=42", "--identity", "anna"]
    granted = json_of(await rollcall("token", *said, "--json"))
    row = await get_session(database, granted["session_id"])
    assert (row.status, row.agent_name, row.participant_identity) == (
        SessionStatus.RESERVED,
        "front desk",
        "anna",
    )
    assert row.client_metadata == {"customer": "42"}
    shown = (await rollcall("token")).stdout
    assert all(name in shown for name in ("session", "join at", "until", "token"))


async def test_words_are_erased_once_the_user_has_said_so(rollcall: Run, database: Database) -> None:
    row = await put_session(database, participant_identity="anna")
    await store_turns(database, [a_turn(row.id, n, participant_identity="anna") for n in (1, 2)])
    asked = await rollcall("erase", row.id)
    assert asked.exit_code == 1
    assert (await get_session(database, row.id)).transcript_erased_at is None
    erased = await rollcall("erase", row.id, "--yes")
    assert "2 in the database" in erased.stdout
    assert (await get_session(database, row.id)).transcript_erased_at is not None
    of_anna = json_of(await rollcall("erase", "--identity", "anna", "--yes", "--json"))
    assert of_anna["session_ids"] == [row.id]
    assert (await rollcall("erase", "--yes")).exit_code == 2


async def test_a_wide_terminal_shows_more_of_each_session(
    rollcall: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    times: dict[str, Any] = {
        "active_at": T0 + timedelta(milliseconds=310),
        "ended_at": T0 + timedelta(seconds=190),
    }
    row = await put_session(
        database, status=SessionStatus.ENDED, participant_identity="anna", deployment="blue", **times
    )
    await store_turns(database, [a_turn(row.id, n) for n in (1, 2, 3)])
    assert "agent@blue" in (await rollcall("session", row.id)).stdout
    [line] = [line for line in (await rollcall("sessions")).stdout.splitlines() if row.id in line]
    assert line.split()[-7:] == ["agent@blue", "anna", "310", "ms", "3:09", "min", "3"]
