"""A process stops when it is told to, whatever it is doing."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from services.api.bootstrap import open_services
from services.api.settings import ApiSettings
from services.verifier.bootstrap import open_verifier
from services.verifier.settings import VerifierSettings
from tests.stack_fixtures.databases import DatabaseFactory


@pytest.mark.parametrize("service", ["api", "verifier"])
async def test_a_service_stops_at_whatever_moment_it_is_told(
    service: str, database_factory: DatabaseFactory, redis_url: str
) -> None:
    # On Python 3.11 a cancellation that arrives while redis-py sends a command can get lost.
    common: dict[str, Any] = {
        "livekit_url": "ws://127.0.0.1:7880",
        "livekit_api_key": "devkey",
        "livekit_api_secret": "a-secret-of-thirty-two-characters",
        "database_url": await database_factory.sqlite(),
        "redis_url": redis_url,
    }

    def opened() -> AbstractAsyncContextManager[Any]:
        if service == "api":
            return open_services(ApiSettings(**common))
        return open_verifier(VerifierSettings(**common))

    for moment in range(20):
        async with asyncio.timeout(10), opened():
            for _ in range(moment):
                await asyncio.sleep(0)
