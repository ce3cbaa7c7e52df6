"""A broker fails and returns in every way: its Celery workers consume again, or end as failed.

One Celery worker on Redis and two on RabbitMQ (classic and quorum queues) go through everything; none may be
another process at the end. `make test-faults FULL=1` stops Celery workers in each of these states, too.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from kombu import Connection
from kombu.exceptions import KombuError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devstack.environment import clean_environment
from devstack.ports import Ports
from devstack.process import Process
from devstack.servers import plan_redis
from services.verifier.gauges.queues import AmqpQueues
from shared.contracts.keys import CLOSE_TASK, DISPATCH_QUEUE, DISPATCH_TASK, HOUSEKEEPING_QUEUE, VERIFY_QUEUE
from tests.support.consumers import Consumers, consumers, sender_of, through
from tests.support.rabbitmq import RabbitServer
from tests.support.sessions import until
from tests.support.wire import open_wire

pytestmark = pytest.mark.faults

QUEUE_TYPES = ("classic", "quorum")
# The supervisor of a local stack gives 4 s, Docker 10 s; this machine may be slow.
GRACE_S = 10.0
ALL_STOPS = [
    (name, state) for name in ("redis", *QUEUE_TYPES) for state in ("well", "frozen", "silent", "gone")
]
FEW_STOPS = [("redis", "frozen"), ("redis", "gone"), ("quorum", "silent")]
STOPS = ALL_STOPS if os.environ.get("FULL") else FEW_STOPS


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[tuple[str, Process]]:
    folder.mkdir()
    server = await plan_redis(folder, clean_environment(), ports=Ports(fixed=False, tell=print))
    assert server.spec is not None
    process = Process(replace(server.spec, restart=False), notify=lambda *_: None)
    await process.start()
    try:
        yield server.url, process
    finally:
        await process.stop()


class Brokers:
    """A Redis, a RabbitMQ, and the Celery workers on them."""

    def __init__(self, folder: Path, urls: dict[str, str], redis: Process, rabbit: RabbitServer) -> None:
        self.folder, self.urls = folder, urls
        self.processes = [redis, rabbit.process]
        self.redis, self.rabbit = redis, rabbit
        self.workers: list[Consumers] = []
        self._own = itertools.count(1)

    async def each(self, do: Callable[[Consumers], Awaitable[object]]) -> None:
        """Run the work for all Celery workers at the same time."""
        await asyncio.gather(*(do(worker) for worker in self.workers))

    @asynccontextmanager
    async def one_more(self, name: str) -> AsyncIterator[Consumers]:
        """A Celery worker for one test, with queues of its own."""
        number = next(self._own)
        if name == "redis":
            url = f"{self.urls[name].rpartition('/')[0]}/{number}"
        else:
            url = await self.rabbit.add_host(f"own-{number}")
        async with consumers(self.folder / f"own-{number}", name, url) as worker:
            yield worker


@pytest_asyncio.fixture(scope="module")
async def brokers(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitServer) -> AsyncIterator[Brokers]:
    folder = tmp_path_factory.mktemp("brokers")
    async with AsyncExitStack() as running:
        redis_url, redis = await running.enter_async_context(_redis(folder / "redis-server"))
        urls = {
            "redis": redis_url,
            # What is to be classic has to say so here; and on a host where all queues were quorum queues, a
            # Celery worker could not even set how much it takes.
            "classic": await rabbitmq.add_host("of-classic", "--default-queue-type", "quorum"),
            "quorum": await rabbitmq.add_host("of-quorum"),
        }
        both = Brokers(folder, urls, redis, rabbitmq)
        for name, url in both.urls.items():
            worker = await running.enter_async_context(consumers(folder / name, name, url))
            both.workers.append(worker)
        await both.each(Consumers.consumes)
        yield both


@pytest.mark.parametrize("name", QUEUE_TYPES)
async def test_queues_on_rabbitmq_are_of_the_type_that_is_set(brokers: Brokers, name: str) -> None:
    listed = await brokers.rabbit.control("list_queues", "--vhost", f"of-{name}", "name", "type")
    types = dict(line.split("\t") for line in listed.splitlines() if line.startswith("rollcall."))
    assert types == {DISPATCH_QUEUE: name, VERIFY_QUEUE: name}
    assert "celery_delayed" not in listed


@pytest.mark.parametrize("name", QUEUE_TYPES)
async def test_what_waits_on_rabbitmq_is_counted(brokers: Brokers, name: str) -> None:
    sender = sender_of(name, brokers.urls[name])
    now = 100.0
    queues = AmqpQueues(sender, clock=lambda: now)
    await sender.send(CLOSE_TASK, ["one"])  # declares the queue that nobody here takes from
    looked = await queues.count_waiting()
    assert looked[HOUSEKEEPING_QUEUE] == (1, 0.0)
    assert looked[DISPATCH_QUEUE].tasks == 0
    now = 107.0
    await sender.send(CLOSE_TASK, ["another"])
    assert (await queues.count_waiting())[HOUSEKEEPING_QUEUE] == (2, 7.0)
    with Connection(brokers.urls[name]) as connection:
        channel: Any = connection.default_channel
        channel.queue_purge(HOUSEKEEPING_QUEUE)
    assert (await queues.count_waiting())[HOUSEKEEPING_QUEUE] == (0, 0.0)
    sender.close()


async def test_a_queue_of_another_type_is_told_and_waited_for(brokers: Brokers) -> None:
    """RabbitMQ refuses it until the queue is deleted; the Celery worker says so, and then goes on."""
    url = await brokers.rabbit.add_host("of-both")
    async with consumers(brokers.folder / "first", "classic", url) as first:
        await first.consumes()
    async with consumers(brokers.folder / "second", "quorum", url) as second:

        async def refused() -> bool:
            return "inequivalent arg 'x-queue-type'" in second.process.log()

        await until(refused, what="the log names the queue's type")
        await second.answers("readyz", 503)
        with Connection(url) as connection:
            channel: Any = connection.default_channel
            for queue in (DISPATCH_QUEUE, VERIFY_QUEUE):
                channel.queue_delete(queue)
        await second.consumes()


async def test_consumes_again_after_its_queues_were_deleted(brokers: Brokers) -> None:
    for name in QUEUE_TYPES:
        with Connection(brokers.urls[name]) as connection:
            channel: Any = connection.default_channel
            for queue in (DISPATCH_QUEUE, VERIFY_QUEUE):
                channel.queue_delete(queue)
    async with Redis.from_url(brokers.urls["redis"]) as redis:
        await redis.flushdb()
    await brokers.each(Consumers.consumes)


async def test_consumes_again_after_its_broker_was_killed_with_tasks_in_flight(brokers: Brokers) -> None:
    await brokers.each(Consumers.burst)
    for process in brokers.processes:
        process.kill(group=True)
        await process.wait_exit()
    await brokers.each(lambda worker: worker.answers("readyz", 503))
    await brokers.each(lambda worker: worker.answers("livez", 200))
    await asyncio.gather(*(process.start() for process in brokers.processes))
    await brokers.each(Consumers.consumes)


async def test_consumes_again_after_two_losses_in_a_row(brokers: Brokers) -> None:
    await brokers.each(Consumers.burst)
    for _ in range(2):
        await brokers.each(lambda worker: worker.wire.drop())
        await asyncio.sleep(0.2)  # not a wait: the second loss is to meet it while it connects
    await brokers.each(Consumers.consumes)


async def test_consumes_again_after_its_broker_was_frozen(brokers: Brokers) -> None:
    await brokers.each(Consumers.burst)
    for process in brokers.processes:
        process.freeze()
    try:
        await brokers.each(lambda worker: worker.answers("readyz", 503))
        await brokers.each(lambda worker: worker.answers("livez", 200))
    finally:
        for process in brokers.processes:
            process.thaw()
    await brokers.each(Consumers.consumes)


async def test_consumes_again_after_packets_got_lost_for_good(brokers: Brokers) -> None:
    await brokers.each(Consumers.burst)
    for worker in brokers.workers:
        worker.wire.cut()
    # Nothing notifies it: it has to notice the silence itself.
    await brokers.each(lambda worker: worker.answers("readyz", 503))
    for worker in brokers.workers:
        await worker.wire.drop()
        worker.wire.mend()
    await brokers.each(Consumers.consumes)


@pytest.mark.parametrize("refusal", ["LOADING Redis is loading the dataset in memory", "ERR unknown", None])
async def test_consumes_again_after_a_server_that_refuses(brokers: Brokers, refusal: str | None) -> None:
    """The server in its place answers everything with an error; or, None, with what is no protocol at all."""
    answer = b"\x00garbage\r\n" * 9 if refusal is None else f"-{refusal}\r\n".encode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer)
        writer.close()

    ports = {worker.name: worker.wire for worker in brokers.workers}
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as bad:
        for name, wire in ports.items():
            wire.upstream = bad.sockets[0].getsockname()[1]
            await wire.drop()
            await next(w for w in brokers.workers if w.name == name).answers("readyz", 503)
        await brokers.each(lambda worker: worker.answers("livez", 200))
        for worker in brokers.workers:
            worker.wire.upstream = brokers.rabbit.port
        _redis_worker(brokers).wire.upstream = _port(brokers.urls["redis"])
        for wire in ports.values():
            await wire.drop()
    await brokers.each(Consumers.consumes)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    ],
    ids=["out of memory", "read only"],
)
async def test_consumes_again_after_a_redis_that_takes_no_writes(
    brokers: Brokers, wrong: list[str], right: list[str]
) -> None:
    worker = _redis_worker(brokers)
    async with Redis.from_url(brokers.urls["redis"]) as redis:
        await worker.burst()
        await redis.execute_command(*wrong)
        try:
            with pytest.raises((RedisError, KombuError)):
                await worker.sender.send(DISPATCH_TASK, ["refused"])
        finally:
            await redis.execute_command(*right)
    await worker.consumes()


@pytest.mark.parametrize("name", ["redis", *QUEUE_TYPES])
async def test_a_sender_finds_the_broker_that_came_back(brokers: Brokers, name: str) -> None:
    worker = next(worker for worker in brokers.workers if worker.name == name)
    async with open_wire(worker.wire.upstream) as wire:
        sender = sender_of(name, through(wire, brokers.urls[name]))
        await sender.send(DISPATCH_TASK, ["before"])
        # Its pooled connection died with the previous broker; the next task must not be lost.
        await wire.drop()
        await sender.send(DISPATCH_TASK, ["after"])
        await worker.has("done after")
        wire.cut()
        with pytest.raises((KombuError, RedisError, OSError)):
            await sender.send(DISPATCH_TASK, ["into the void"])
        # The silent connection is not used again.
        await wire.drop()
        wire.mend()
        await sender.send(DISPATCH_TASK, ["afterwards"])
        await worker.has("done afterwards")
        sender.close()


async def test_a_worker_that_starts_before_its_broker_is_there_consumes_later(brokers: Brokers) -> None:
    for name in ("redis", "classic"):
        async with brokers.one_more(name) as worker:
            worker.wire.cut()
            await worker.wire.drop()
            await worker.answers("readyz", 503)
            worker.wire.mend()
            await worker.consumes()


async def test_a_consumer_that_stands_still_is_not_alive_and_ends_as_failed(brokers: Brokers) -> None:
    async with brokers.one_more("redis") as worker:
        await worker.consumes()
        worker.process.kill(signal.SIGVTALRM)
        await worker.answers("livez", 503)
        async with asyncio.timeout(60):
            assert await worker.process.wait_exit() == 1


@pytest.mark.parametrize(("name", "state"), STOPS)
async def test_ends_when_told_whatever_its_broker_does(brokers: Brokers, name: str, state: str) -> None:
    server = brokers.redis if name == "redis" else brokers.rabbit.process
    async with brokers.one_more(name) as worker:
        await worker.consumes()
        await worker.burst()
        try:
            if state == "frozen":
                server.freeze()
            if state in ("silent", "gone"):
                worker.wire.cut()
            if state == "gone":
                worker.wire.upstream = 1
                await worker.wire.drop()
                worker.wire.mend()
            worker.process.kill(signal.SIGTERM)
            async with asyncio.timeout(GRACE_S):
                assert await worker.process.wait_exit() == 0, worker.process.log()
        finally:
            server.thaw()


def _redis_worker(brokers: Brokers) -> Consumers:
    return brokers.workers[0]


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
