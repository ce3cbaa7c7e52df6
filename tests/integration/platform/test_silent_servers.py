"""PostgreSQL or Redis never answers: every process reports it, works on or waits, and can end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import make_url

from devstack.provision.postgres import PostgresServer
from services.dispatcher.bootstrap import open_dispatcher
from services.dispatcher.settings import DispatcherSettings
from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from services.verifier.bootstrap import open_verifier
from services.verifier.settings import VerifierSettings
from shared.contracts.sessions import SessionStatus
from shared.core.database_ready import unready
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, Kind, fault_of
from tests.integration.api_client import KEY, NOWHERE, SECRET, api_settings, assert_problem, in_process
from tests.integration.background import in_background
from tests.integration.rows import a_turn, get_session, put_session
from tests.integration.transcripts.consuming import acknowledged, say
from tests.support import bad_server as bad
from tests.support.bad_server import BadServer, bad_server
from tests.support.pooler import wire_to
from tests.support.sessions import until

# Far above every limit in these tests.
pytestmark = pytest.mark.product_limits

HANGS_S = 60
LIVEKIT: dict[str, Any] = {"livekit_url": NOWHERE, "livekit_api_key": KEY, "livekit_api_secret": SECRET}


@pytest.fixture
async def silent() -> AsyncIterator[BadServer]:
    async with bad_server(bad.NEVER) as server:
        yield server


@pytest.fixture
def silent_database(silent: BadServer) -> str:
    return f"postgresql://u:p@127.0.0.1:{silent.port}/d?connect_timeout=1&sslmode=disable"


@pytest.fixture
def silent_redis(silent: BadServer) -> str:
    return silent.url("redis", "/0")


async def get(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(HANGS_S):
        return await client.get(path)


async def test_the_api_without_an_answer_of_its_database(silent_database: str, redis_url: str) -> None:
    async with asyncio.timeout(4 * HANGS_S), in_process(api_settings(silent_database, redis_url)) as client:
        async with asyncio.timeout(HANGS_S):
            # One after the other, as many would wait for longer than this.
            answers = await asyncio.gather(*(client.post("/v1/sessions") for _ in range(2 * HANGS_S)))
        for answer in answers:
            assert_problem(answer, 503, "database_unavailable")
        assert (await get(client, "/livez")).status_code == 200
        probe = await get(client, "/readyz")
        assert probe.status_code == 503
        assert "answer" in probe.text
        assert (await get(client, "/health")).status_code == 503


async def test_the_api_whose_database_falls_silent(
    postgres_server: PostgresServer, postgres_url: str, redis_url: str
) -> None:
    name = make_url(postgres_url).database
    async with wire_to(postgres_server) as wire:
        url = f"postgresql://postgres@127.0.0.1:{wire.port}/{name}?connect_timeout=3&command_timeout=2"
        async with asyncio.timeout(4 * HANGS_S), in_process(api_settings(url, redis_url)) as client:
            assert (await client.post("/v1/sessions")).status_code == 202
            wire.cut()
            for _ in range(3):
                async with asyncio.timeout(HANGS_S):
                    assert_problem(await client.post("/v1/sessions"), 503, "database_unavailable")
            assert (await get(client, "/readyz")).status_code == 503


async def test_the_api_without_an_answer_of_redis(sqlite_url: str, silent_redis: str) -> None:
    async with asyncio.timeout(4 * HANGS_S), in_process(api_settings(sqlite_url, silent_redis)) as client:
        async with asyncio.timeout(HANGS_S):
            started = await client.post("/v1/sessions")
        assert started.status_code == 202
        assert (await get(client, started.headers["location"])).status_code == 200
        assert_problem(await get(client, "/v1/workers"), 503, "registry_unreachable")
        assert (await get(client, "/readyz")).status_code == 200
        assert (await get(client, "/health")).status_code == 503


def retries() -> float:
    return REGISTRY.get_sample_value("transcript_database_retries_total") or 0.0


async def test_the_transcript_consumer_waits_for_a_database_that_does_not_answer(
    silent_database: str, redis: Redis, redis_url: str
) -> None:
    before = retries()

    async def has_tried() -> bool:
        return retries() >= before + 2

    settings = TranscriptsSettings(database_url=silent_database, redis_url=redis_url)
    await say(redis, a_turn("s-1", 1))
    async with (
        asyncio.timeout(4 * HANGS_S),
        open_consumer(settings) as consumer,
        in_background(consumer.run()),
    ):
        await until(has_tried, what="it tries again and again", timeout_s=HANGS_S)
        assert not await acknowledged(redis, 1)


async def test_the_transcript_consumer_ends_whatever_redis_does(
    sqlite_url: str, silent: BadServer, silent_redis: str
) -> None:
    async def has_asked() -> bool:
        return silent.connections >= 2

    settings = TranscriptsSettings(database_url=sqlite_url, redis_url=silent_redis)
    async with (
        asyncio.timeout(4 * HANGS_S),
        open_consumer(settings) as consumer,
        in_background(consumer.run()),
    ):
        await until(has_asked, what="it tries again", timeout_s=HANGS_S)


async def test_no_task_waits_for_a_database_that_does_not_answer(
    silent_database: str, redis_url: str
) -> None:
    """The sweep enqueues it again."""
    values = {**LIVEKIT, "database_url": silent_database, "redis_url": redis_url}
    async with asyncio.timeout(4 * HANGS_S):
        async with open_dispatcher(DispatcherSettings(**values)) as dispatcher:
            with pytest.raises(DATABASE_ERRORS) as raised:
                await dispatcher.dispatch_session("s-1")
            assert fault_of(raised.value).kind is Kind.TRANSIENT
            assert "does not answer" in (await dispatcher.unready() or "")
        async with open_verifier(VerifierSettings(**values)) as services:
            for task in (services.verify_session, services.close_session):
                with pytest.raises(DATABASE_ERRORS):
                    await task("s-1")
            assert "does not answer" in (await unready(services.database) or "")


async def test_no_task_waits_for_a_redis_that_does_not_answer(sqlite_url: str, silent_redis: str) -> None:
    database = Database(sqlite_url)
    row = await put_session(database)
    values = {**LIVEKIT, "database_url": sqlite_url, "redis_url": silent_redis}
    async with asyncio.timeout(4 * HANGS_S):
        async with open_dispatcher(DispatcherSettings(**values)) as dispatcher:
            await dispatcher.dispatch_session(row.id)
        assert (await get_session(database, row.id)).status == SessionStatus.REQUESTED
        async with open_verifier(VerifierSettings(**values)) as services:
            await services.verify_session(row.id)
    await database.close()
