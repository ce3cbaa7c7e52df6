"""`rollcall audit` and `rollcall open`, against a real API."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.integration.api_client import api_settings, served
from tests.integration.cli.conftest import Run


async def test_the_command_shows_it(rollcall: Run) -> None:
    assert "no act matches" in (await rollcall("audit")).stdout
    await rollcall("webhooks", "add", "https://1.1.1.1/rollcall")
    shown = await rollcall("audit")
    assert shown.exit_code == 0, shown.output
    assert "webhook.create" in shown.stdout
    assert "anybody" in shown.stdout
    told = await rollcall("audit", "--action", "webhook.create", "--json")
    answer = json.JSONDecoder().raw_decode(told.stdout[told.stdout.index('{"entries"') :])[0]
    assert len(answer["entries"]) == 1


async def test_the_console_is_opened_at_the_api(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    async with served(api_settings(database_url, redis_url)) as client:
        words = ["open", "a/b", "--api", str(client.base_url)]
        assert CliRunner().invoke(app, words).exit_code == 0
        assert CliRunner().invoke(app, ["open", "--print", "--api", str(client.base_url)]).exit_code == 0
        assert opened == [f"{str(client.base_url).rstrip('/')}/console/sessions/a%2Fb"]
        page = await client.get(opened[0])
    assert page.headers["content-type"].startswith("text/html")
