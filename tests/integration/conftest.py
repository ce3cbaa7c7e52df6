"""Parts of a stack on real servers: a database of either kind, Redis, Celery's queues."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from devstack.environment import clean_environment
from devstack.ports import Ports
from devstack.process import Process
from devstack.provision.postgres import PostgresServer
from devstack.servers import RedisServer, plan_redis
from services.dispatcher.dispatch import Dispatcher
from services.dispatcher.repository import Repository
from services.verifier.admit.admission import Admission
from shared.contracts.keys import CLOSE_TASK, DISPATCH_TASK, VERIFY_TASK
from shared.core.all_tables import METADATA
from shared.core.sessions.outbox import Relay
from shared.platform.celery.tasks import TASK_QUEUES, TaskSender, make_celery
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from tests.integration.api_client import api_settings, in_process
from tests.integration.dispatcher.dispatching import make_dispatcher
from tests.integration.long_limits import lengthen_limits
from tests.integration.verifier.verifier_bench import Bench
from tests.stack_fixtures.databases import DatabaseFactory, which_databases
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import FakeClock

# The streams and queues have fixed names, so these tests keep to a database of their own.
_OUR_REDIS_DATABASE = 9

Queued = Callable[[], Awaitable[dict[str, list[str]]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses `database_url` on each kind of database that it is to run on."""
    test = metafunc.definition
    names_its_own = any("database_url" in mark.args[0] for mark in test.iter_markers("parametrize"))
    if "database_url" in metafunc.fixturenames and not names_its_own:
        about_sql = test.get_closest_marker("sql") is not None
        metafunc.parametrize("database_url", which_databases(test.nodeid, about_sql=about_sql), indirect=True)


@pytest.fixture(autouse=True)
def _long_limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("product_limits") is None:
        lengthen_limits(monkeypatch)


@pytest.fixture(scope="session")
async def emptied_postgres(
    database_factory: DatabaseFactory, postgres_server: PostgresServer
) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """One migrated database for all these tests: making one for each took most of their time."""
    url = await database_factory.postgres(postgres_server, "integration")
    connection = await asyncpg.connect(
        host=str(postgres_server.folder), user="postgres", database="integration"
    )
    yield url, connection
    await connection.close()
    await postgres_server.drop_database("integration")


@pytest.fixture
async def postgres_url(emptied_postgres: tuple[str, asyncpg.Connection]) -> str:
    """The URL of an empty, migrated PostgreSQL database."""
    url, connection = emptied_postgres
    for table in reversed(METADATA.sorted_tables):
        await connection.execute(f'DELETE FROM "{table.name}"')
    return url


@pytest.fixture
async def sqlite_url(database_factory: DatabaseFactory) -> str:
    """The URL of an empty, migrated SQLite database."""
    return await database_factory.sqlite()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database of the kind, or of each kind, that `which_databases` chose."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis database that no other test uses at the same time."""
    url = f"{redis_server.url.rpartition('/')[0]}/{_OUR_REDIS_DATABASE}"
    client = connect_redis(url)
    await client.flushdb()
    await client.aclose()
    return url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[tuple[str, Process]]:
    """The URL of a Redis that the test may freeze, stop and start again, and its process."""
    state = tmp_path / "own-redis"
    state.mkdir()
    ports = Ports(fixed=False, tell=print)
    server = await plan_redis(state, clean_environment(), ports=ports)
    assert server.spec is not None
    process = Process(server.spec, notify=lambda *_: None)
    await process.start()
    yield server.url, process
    await process.stop()


@pytest.fixture
async def tasks(redis_url: str) -> AsyncIterator[TaskSender]:
    sender = TaskSender(make_celery("tests", redis_url))
    yield sender
    sender.close()


@pytest.fixture
async def relay(database: Database, redis: Redis, tasks: TaskSender) -> Relay:
    return Relay(database=database, redis=redis, tasks=tasks)


@pytest.fixture
def queued(redis: Redis) -> Queued:
    """Read the session ids that are on Celery's queues, by task, the oldest first."""

    async def read() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for task in (DISPATCH_TASK, VERIFY_TASK, CLOSE_TASK):
            for message in reversed(await redis.lrange(TASK_QUEUES[task], 0, -1)):
                loaded = json.loads(message)
                assert loaded["headers"]["task"] == task
                [session_id], _, _ = json.loads(base64.b64decode(loaded["body"]))
                found.setdefault(task, []).append(session_id)
        return found

    return read


@pytest.fixture
def bench(database: Database, redis: Redis, relay: Relay, clock: FakeClock) -> Bench:
    return Bench(database, redis, relay, clock)


@pytest.fixture
def repository(database: Database, clock: FakeClock) -> Repository:
    return Repository(database, retry_delay_s=1.0, now=clock)


@pytest.fixture
def rooms() -> FakeRooms:
    return FakeRooms()


@pytest.fixture
def dispatcher(
    database: Database, redis: Redis, relay: Relay, rooms: FakeRooms, clock: FakeClock
) -> Dispatcher:
    return make_dispatcher(database, redis, relay, rooms, clock)


@pytest.fixture
def admission(
    database: Database, redis: Redis, tasks: TaskSender, rooms: FakeRooms, clock: FakeClock
) -> Admission:
    return Admission(database=database, redis=redis, tasks=tasks, rooms=rooms, now=clock)


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API, with its defaults."""
    async with in_process(api_settings(database_url, redis_url)) as opened:
        yield opened
