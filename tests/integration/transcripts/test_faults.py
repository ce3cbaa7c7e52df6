"""Whatever dies between an agent and the database, published turns are stored, once and in order.

The consumers are real processes, and so are Redis and the databases; a sender keeps each turn until the
watermark says that it is stored, as the spool of an agent worker does.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count as counting
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import make_url, select, text
from sqlmodel import col

from devstack.environment import clean_environment
from devstack.process import Process, ProcessSpec
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import TURNS_STREAM
from shared.core.transcripts.tables import TranscriptItemRow
from shared.core.transcripts.watermark import read_stored
from shared.platform.database.database import Database
from shared.platform.database.sqlite import BEGIN, WRITING
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE, publish
from tests.integration.background import in_background
from tests.integration.rows import a_turn, put_session
from tests.support.sessions import until
from tests.unit.making import T0

ROOT = Path(__file__).parents[3]
# A dead consumer's turns are taken over after 15 s.
PATIENCE_S = 90.0
RESEND_S = 1.0

StartConsumer = Callable[..., Awaitable[Process]]


class Sender:
    """Publishes turns, and again after a while, until the watermark says that they are stored."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self.redis = redis
        self.database = database
        self.published: list[TurnFinished] = []
        self.left: dict[tuple[str, int], TurnFinished] = {}
        self.claimed_too_early: list[TurnFinished] = []

    def say(self, *turns: TurnFinished) -> None:
        for turn in turns:
            self.published.append(turn)
            self.left[turn.session_id, turn.seq] = turn

    async def run(self) -> None:
        while True:
            try:
                await self.send()
                for _ in range(10):
                    await self._forget_what_is_stored()
                    await asyncio.sleep(RESEND_S / 10)
            except UNREACHABLE:
                await asyncio.sleep(0.1)

    async def until_all_stored(self) -> None:
        async def done() -> bool:
            return not self.left

        await until(done, what="every turn is stored", timeout_s=PATIENCE_S)

    async def check(self) -> None:
        """Check that all published turns are stored once and in order, and none was confirmed too early."""
        async with self.database.read() as db:
            query = select(TranscriptItemRow).order_by(
                col(TranscriptItemRow.session_id), col(TranscriptItemRow.seq)
            )
            stored = [(item.session_id, item.seq, item.text) for item in (await db.scalars(query)).all()]
        published = sorted((turn.session_id, turn.seq, turn.text) for turn in self.published)
        print(f"published {len(published)}, stored {len(stored)}")
        assert stored == published
        assert self.claimed_too_early == []

    async def send(self) -> None:
        envelopes = [
            wrap(turn, session_id=turn.session_id, source="tests", time=T0) for turn in self.left.values()
        ]
        await publish(self.redis, TURNS_STREAM, envelopes)

    async def _forget_what_is_stored(self) -> None:
        for session_id in {session_id for session_id, _ in self.left}:
            stored = await read_stored(self.redis, session_id, job_id="AJ_1", attempt=1)
            said = [turn for key, turn in self.left.items() if key[0] == session_id and stored.has(turn.seq)]
            if said:
                there = await self.in_database(session_id)
                self.claimed_too_early += [turn for turn in said if turn.seq not in there]
            for turn in said:
                del self.left[session_id, turn.seq]

    async def in_database(self, session_id: str) -> set[int]:
        async with self.database.read() as db:
            query = select(col(TranscriptItemRow.seq)).where(col(TranscriptItemRow.session_id) == session_id)
            return set((await db.scalars(query)).all())


@pytest.fixture
async def own_client(own_redis: tuple[str, Process]) -> AsyncIterator[Redis]:
    client = connect_redis(own_redis[0])
    yield client
    await client.aclose()


@pytest.fixture
async def start_consumer(tmp_path: Path) -> AsyncIterator[StartConsumer]:
    """Starts `python -m services.transcripts`: `await start_consumer(database_url, redis_url)`."""
    started: list[Process] = []

    async def start(database_url: str, redis_url: str) -> Process:
        name = f"transcripts-{len(started) + 1}"
        log_file = tmp_path / f"{name}.log"
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}

        async def ready(_: int) -> bool:
            return "storing transcripts" in log_file.read_text()

        spec = ProcessSpec(
            name=name,
            command=[sys.executable, "-m", "services.transcripts"],
            env=clean_environment({**urls, "LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}),
            cwd=tmp_path,
            log_file=log_file,
            ready=ready,
            restart=False,
        )
        started.append(Process(spec, notify=lambda *_: None))
        await started[-1].start()
        return started[-1]

    yield start
    for process in started:
        await process.stop()


async def sessions(database: Database, number: int = 3) -> list[str]:
    return [(await put_session(database)).id for _ in range(number)]


def turns(session_ids: list[str], *seqs: int) -> Iterator[TurnFinished]:
    for seq in seqs:
        for session_id in session_ids:
            yield a_turn(session_id, seq, job_id="AJ_1", text=f"turn {seq} of {session_id}")


async def pending(redis: Redis) -> int:
    groups = await redis.xinfo_groups(TURNS_STREAM) if await redis.exists(TURNS_STREAM) else []
    return int(groups[0]["pending"]) if groups else 0


@asynccontextmanager
async def inserts_held(database: Database) -> AsyncIterator[None]:
    """Make inserts wait, on either database."""
    async with database.engine.connect() as connection:
        writing = await connection.execution_options(**{BEGIN: WRITING})
        lock = "SELECT 1" if database.is_sqlite else "LOCK TABLE transcript_item IN SHARE MODE"
        await writing.execute(text(lock))
        yield
        await writing.rollback()


async def test_a_consumer_killed_between_commit_and_acknowledgement_costs_nothing(
    database: Database,
    database_url: str,
    own_redis: tuple[str, Process],
    own_client: Redis,
    start_consumer: StartConsumer,
) -> None:
    url, redis_server = own_redis
    sender = Sender(own_client, database)
    ids = await sessions(database)
    victim = await start_consumer(database_url, url)

    async def delivered() -> bool:
        return await pending(own_client) > 0

    async def committed() -> bool:
        return bool(await sender.in_database(ids[0]))

    async with inserts_held(database):
        sender.say(*turns(ids, 1, 2, 3))
        await sender.send()
        await until(delivered, what="the consumer has the turns", timeout_s=PATIENCE_S)
        redis_server.freeze()
    await until(committed, what="the turns are committed", timeout_s=PATIENCE_S)
    victim.kill(signal.SIGKILL)
    await victim.wait_exit()
    redis_server.thaw()
    await until(delivered, what="Redis answers again", timeout_s=PATIENCE_S)
    assert not (await read_stored(own_client, ids[0], job_id="AJ_1", attempt=1)).has(1)

    await start_consumer(database_url, url)
    async with in_background(sender.run()):
        await sender.until_all_stored()

    async def settled() -> bool:
        return await pending(own_client) == 0

    await until(settled, what="what the dead one left is acknowledged", timeout_s=PATIENCE_S)
    await sender.check()


async def test_two_consumers_race_and_are_killed_in_turn(
    database: Database,
    database_url: str,
    own_redis: tuple[str, Process],
    own_client: Redis,
    start_consumer: StartConsumer,
) -> None:
    sender = Sender(own_client, database)
    ids = await sessions(database)
    consumers = [await start_consumer(database_url, own_redis[0]) for _ in range(2)]
    numbers = counting(1)
    async with in_background(sender.run()):
        for _ in range(3):
            before = len(sender.published)
            for _ in range(40):
                sender.say(*turns(ids, next(numbers)))
                await asyncio.sleep(0)

            async def some_stored(before: int = before) -> bool:
                return len(sender.published) - len(sender.left) > before

            await until(some_stored, what="some turns are stored", timeout_s=PATIENCE_S)
            victim = consumers.pop(0)
            victim.kill(signal.SIGKILL)
            await victim.wait_exit()
            consumers.append(await start_consumer(database_url, own_redis[0]))
        await sender.until_all_stored()
    await sender.check()


@pytest.mark.parametrize("emptied", [False, True], ids=["with its data", "empty"])
async def test_redis_restarts(
    database: Database,
    database_url: str,
    own_redis: tuple[str, Process],
    own_client: Redis,
    start_consumer: StartConsumer,
    tmp_path: Path,
    emptied: bool,
) -> None:
    url, redis_server = own_redis
    sender = Sender(own_client, database)
    ids = await sessions(database)
    await start_consumer(database_url, url)
    async with in_background(sender.run()):
        sender.say(*turns(ids, 1, 2))
        await sender.until_all_stored()
        async with inserts_held(database):
            sender.say(*turns(ids, 3, 4))

            async def delivered() -> bool:
                return await pending(own_client) > 0

            await until(delivered, what="the consumer has turns in hand", timeout_s=PATIENCE_S)
            redis_server.kill_group()
            await redis_server.wait_exit()
            sender.say(*turns(ids, 5))
            if emptied:
                for folder in tmp_path.glob("own-redis/redis/*"):
                    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            await redis_server.start()
        sender.say(*turns(ids, 6))
        await sender.until_all_stored()
    assert bool(await own_client.exists(TURNS_STREAM))
    await sender.check()


async def test_a_redis_that_is_frozen_is_waited_out(
    database: Database,
    database_url: str,
    own_redis: tuple[str, Process],
    own_client: Redis,
    start_consumer: StartConsumer,
) -> None:
    url, redis_server = own_redis
    sender = Sender(own_client, database)
    ids = await sessions(database)
    consumer = await start_consumer(database_url, url)
    async with in_background(sender.run()):
        sender.say(*turns(ids, 1))
        await sender.until_all_stored()
        redis_server.freeze()
        sender.say(*turns(ids, 2, 3))

        async def noticed() -> bool:
            return "stream_unreachable" in consumer.log()

        await until(noticed, what="the consumer misses Redis", timeout_s=PATIENCE_S)
        redis_server.thaw()
        await sender.until_all_stored()
    await sender.check()


async def test_a_database_that_is_away_is_waited_out(
    database: Database,
    database_url: str,
    own_redis: tuple[str, Process],
    own_client: Redis,
    start_consumer: StartConsumer,
    tmp_path: Path,
) -> None:
    sender = Sender(own_client, database)
    ids = await sessions(database)
    async with Outage(database, database_url) as outage:
        consumer = await start_consumer(outage.url, own_redis[0])
        async with in_background(sender.run()):
            sender.say(*turns(ids, 1))
            await sender.until_all_stored()
            async with outage.away():
                sender.say(*turns(ids, 2, 3))

                async def noticed() -> bool:
                    return "database_unavailable" in consumer.log()

                await until(noticed, what="the consumer misses the database", timeout_s=PATIENCE_S)
                sender.say(*turns(ids, 4))
            await sender.until_all_stored()
    await sender.check()


class Outage:
    """A database that can be taken away: PostgreSQL behind a proxy, SQLite by keeping it locked."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._original = make_url(url)
        self._folder = Path(f"/tmp/rollcall-proxy-{os.getpid()}-{id(self):x}")
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        if self._database.is_sqlite:
            return self._original.render_as_string(hide_password=False)
        proxied = self._original.set(query={"host": str(self._folder)})
        return proxied.render_as_string(hide_password=False).replace("%2F", "/")

    async def __aenter__(self) -> "Outage":
        self._folder.mkdir()
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
        shutil.rmtree(self._folder)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        if self._database.is_sqlite:
            async with inserts_held(self._database):
                yield
            return
        await self._close()
        yield
        await self._open()

    async def _open(self) -> None:
        socket = ".s.PGSQL.5432"
        real = f"{self._original.query.get('host')}/{socket}"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_unix_connection(real)
            for source, sink in ((reader, back), (there, writer)):
                task = asyncio.create_task(_pipe(source, sink))
                self._pipes.add(task)
                task.add_done_callback(self._pipes.discard)

        self._server = await asyncio.start_unix_server(serve, self._folder / socket)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._pipes):
            task.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        (self._folder / ".s.PGSQL.5432").unlink(missing_ok=True)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()
