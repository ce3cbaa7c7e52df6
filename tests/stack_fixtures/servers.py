"""Redis, LiveKit and PostgreSQL, each started once for a test run, on free ports."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devstack import ports as free_ports
from devstack.environment import clean_environment
from devstack.process import Process
from devstack.provision.postgres import PostgresServer, running_postgres
from devstack.servers import LiveKitServer, RedisServer, plan_livekit, plan_redis
from tests.support.rabbitmq import RabbitServer, running_rabbitmq


def _ports() -> free_ports.Ports:
    return free_ports.Ports(fixed=False, tell=print)


def _ignore(*_: str) -> None:
    """Ignore the supervisor's notices; a test that needs them makes its own process."""


@pytest.fixture(scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """A running Redis; `.url`. Shared by all tests, so use keys of your own."""
    state = tmp_path_factory.mktemp("redis")
    server = await plan_redis(state, clean_environment(), ports=_ports())
    assert server.spec is not None
    process = Process(server.spec, notify=_ignore)
    await process.start()
    yield server
    await process.stop()


@pytest.fixture(scope="session")
async def livekit_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKitServer]:
    """A running LiveKit; `.url`, `.api_key`, `.api_secret`. Shared, so use rooms of your own."""
    state = tmp_path_factory.mktemp("livekit")
    server = await plan_livekit(state, clean_environment(), ports=_ports(), api_port=None, tell=print)
    assert server.spec is not None
    process = Process(server.spec, notify=_ignore)
    await process.start()
    yield server
    await process.stop()


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitServer]:
    """A running RabbitMQ; `.url`.

    It takes 150 MB and seconds to start, so a test that breaks it repairs it.
    """
    async with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL without any of our databases."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    return free_ports.free_port()
