"""The command line against an API of this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.integration.api_client import api_settings, served

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def rollcall(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Runs a command against an API of its own, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    async with served(api_settings(database_url, redis_url)) as client:
        monkeypatch.setenv("ROLLCALL_URL", str(client.base_url))

        async def run(*words: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, app, words)

        yield run
