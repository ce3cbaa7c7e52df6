"""The client of the benchmarks ends with its block."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.client import Feed, open_client
from devstack.stack import Stack

TIMEOUT_S = 10.0


async def test_a_client_ends_although_its_feed_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As redis-py does on Python 3.11, if the cancellation comes while it sends a command."""
    running = asyncio.Event()

    async def swallows_one(_: Feed) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    monkeypatch.setattr(Feed, "run", swallows_one)
    stack: Any = SimpleNamespace(redis_url="redis://127.0.0.1:1/0", api_url="http://127.0.0.1:1")
    async with asyncio.timeout(TIMEOUT_S):
        async with open_client(cast("Stack", stack)):
            await running.wait()
