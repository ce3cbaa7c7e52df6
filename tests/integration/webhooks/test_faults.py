"""Whatever dies, a committed event reaches its endpoint: real processes, real databases."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import update

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from shared.core.webhooks.tables import WebhookDeliveryRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.webhooks.webhook_bench import WebhookBench, webhook_bench
from tests.stack_fixtures.waiting import eventually
from tests.support.receiver import Answer, Receiver
from tests.unit.making import FakeClock

ROOT = Path(__file__).parents[3]
StartProcess = Callable[..., Awaitable[Process]]


@pytest.fixture
async def hooks(database: Database, redis: Redis) -> AsyncIterator[WebhookBench]:
    """Only to write endpoints and events; the processes do the rest."""
    async with webhook_bench(database, redis, FakeClock(utc_now())) as made:
        yield made


@pytest.fixture
async def start_process(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[StartProcess]:
    started: list[Process] = []

    async def start(*, redis_url: str = redis_url, **env: str) -> Process:
        port = free_port()
        name = f"webhooks-{len(started) + 1}"
        variables = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_ALLOW_HTTP": "true",
            "PROBE_PORT": str(port),
            "PYTHONPATH": str(ROOT),
            **env,
        }
        spec = ProcessSpec(
            name=name,
            command=[sys.executable, "-m", "services.webhooks"],
            env=clean_environment(variables),
            cwd=tmp_path,
            log_file=tmp_path / f"{name}.log",
            ready=http_ready(f"http://127.0.0.1:{port}/livez"),
            restart=False,
        )
        process = Process(spec, notify=lambda *_: None)
        started.append(process)
        await process.start()
        return process

    yield start
    for process in started:
        await process.stop()


async def all_delivered(hooks: WebhookBench, count: int) -> bool:
    rows = await hooks.deliveries()
    return len(rows) == count and all(row.status == "delivered" for row in rows)


async def test_a_process_killed_before_it_could_record_sends_twice_and_never_not_at_all(
    hooks: WebhookBench, start_process: StartProcess
) -> None:
    gate = asyncio.Event()
    async with Receiver(Answer(gate=gate)) as receiver:
        endpoint = await hooks.put_endpoint(receiver.url)
        first = await start_process()
        await hooks.put_session()
        await eventually(lambda: len(receiver.received) == 1)
        first.kill()
        await first.wait_exit()
        gate.set()  # the answer has nobody to go to
        assert (await hooks.delivery()).status == "pending"
        await start_process()
        # Its claim still holds off others. It lapses by itself; here, now.
        async with hooks.database.write() as db:
            await db.execute(update(WebhookDeliveryRow).values(claimed_until=utc_now()))
        await eventually(lambda: all_delivered(hooks, 1))
        assert len(receiver.received) == 2
        assert receiver.received[0].verified(endpoint.secret) == receiver.received[1].verified(
            endpoint.secret
        )
        assert receiver.ids[0] == receiver.ids[1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_redis_and_after_an_absence_every_event_is_sent(
    hooks: WebhookBench, start_process: StartProcess, own_redis: tuple[str, Process]
) -> None:
    url, server = own_redis
    gate = asyncio.Event()
    async with Receiver(Answer(gate=gate)) as receiver:
        await hooks.put_endpoint(receiver.url)
        process = await start_process(redis_url=url)
        await server.stop()  # and with it everything that was in it
        session = await hooks.put_session()
        await eventually(lambda: len(receiver.received) == 1)
        process.kill(signal.SIGTERM)
        gate.set()
        assert await process.wait_exit() == 0
        assert await all_delivered(hooks, 1), "what was being sent is recorded before it ends"
        await hooks.put_events(session, 5)  # while nobody is there
        await start_process(redis_url=url)
        await eventually(lambda: all_delivered(hooks, 6))
        assert len(receiver.ids) == len(set(receiver.ids)) == 6


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_two_replicas_share_the_work_and_one_goes_on_when_the_other_is_killed(
    hooks: WebhookBench, start_process: StartProcess
) -> None:
    async with Receiver() as receiver:
        await hooks.put_endpoint(receiver.url)
        first, _ = await asyncio.gather(start_process(), start_process())
        session = await hooks.put_session()
        await hooks.put_events(session, 49)
        await eventually(lambda: all_delivered(hooks, 50))
        assert len(receiver.ids) == len(set(receiver.ids)) == 50
        first.kill()
        await first.wait_exit()
        await hooks.put_events(session, 3)
        await eventually(lambda: all_delivered(hooks, 53))
        assert len(set(receiver.ids)) == 53
