"""A webhook never reaches a forbidden address, however the URL leads there."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.webhooks.webhook_bench import WebhookBench, webhook_bench
from tests.support.receiver import Answer, Receiver
from tests.unit.making import FakeClock


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    """One database is enough: it has no say in this."""
    opened = Database(sqlite_url)
    yield opened
    await opened.close()


async def send(hooks: WebhookBench, url: str) -> str:
    """Have an event sent there, as if the endpoint had been registered, and return what was wrong."""
    await hooks.put_endpoint(url)
    await hooks.put_session()
    await hooks.collect_and_settle()
    delivery = await hooks.delivery()
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    return delivery.error or ""


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"],
)
async def test_an_address_is_looked_at_when_it_is_connected_to(
    database: Database, redis: Redis, host: str
) -> None:
    clock = FakeClock(utc_now())
    async with (
        Receiver() as receiver,
        webhook_bench(database, redis, clock, webhook_allow_private=False) as hooks,
    ):
        error = await send(hooks, f"http://{host}:{receiver.port}/hook")
        # Of numbers in another spelling, the HTTP library will have nothing to do in the first place.
        assert "does not lead to a public address" in error or "is not a canonical IPv4 address" in error
        assert receiver.received == []
        assert (await hooks.delivery()).response_code is None


async def test_an_allowed_network_is_reached(database: Database, redis: Redis) -> None:
    clock = FakeClock(utc_now())
    settings = {"webhook_allow_private": False, "webhook_allowed_networks": ["127.0.0.0/8"]}
    async with Receiver() as receiver, webhook_bench(database, redis, clock, **settings) as hooks:
        await hooks.put_endpoint(f"http://localhost:{receiver.port}/hook")
        await hooks.put_session()
        await hooks.collect_and_settle()
        assert len(receiver.received) == 1


async def test_without_tls_nothing_is_sent(database: Database, redis: Redis) -> None:
    clock = FakeClock(utc_now())
    async with (
        Receiver() as receiver,
        webhook_bench(database, redis, clock, webhook_allow_http=False) as hooks,
    ):
        assert "must begin with https://" in await send(hooks, receiver.url)
        assert receiver.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(database: Database, redis: Redis, status: int) -> None:
    clock = FakeClock(utc_now())
    async with (
        Receiver() as inside,
        Receiver(Answer(status, {"Location": inside.url})) as outside,
        webhook_bench(database, redis, clock) as hooks,
    ):
        assert await send(hooks, outside.url) == f"it answered {status}; redirects are not followed"
        assert (len(outside.received), inside.received) == (1, [])


async def test_a_receiver_that_does_not_prove_who_it_is_gets_nothing(
    database: Database, redis: Redis
) -> None:
    clock = FakeClock(utc_now())
    async with Receiver() as receiver, webhook_bench(database, redis, clock) as hooks:
        error = await send(hooks, receiver.url.replace("http://", "https://"))
        assert "SSL" in error
        assert receiver.received == []
