"""Live events: the cost of idle followers, and how soon a turn reaches all followers of a session.

For comparison, a process in the same run only passes messages from Redis pub/sub to the same number of
readers. A turn takes a longer way: stream, consumer, database, hint, and then the readers.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import psutil
from redis.asyncio import Redis

from bench.bare_events import CHANNEL
from bench.options import Options, Results, at_most, fact, p50, say, show_times
from bench.stacks import bench_stack
from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.process import Process, ProcessSpec
from devstack.stack import Stack
from shared.contracts.events import CaptionChanged, SessionRequested, TurnFinished, wrap
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import ENVELOPE_FIELD, TURNS_STREAM, captions_channel
from shared.contracts.sessions import Mode, Role, SessionStatus
from shared.core.sessions.repository import add_session
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.background import stop_all
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis

FOLLOWERS: Final = 1000
READERS: Final = 100
TURNS_EACH: Final = 20
ROOT: Final = Path(__file__).parents[1]
_TEXT: Final = "This is a turn, and it goes on for about as long as people talk. " * 2
_SETTLE_S: Final = 6.0
# Aims: cores, for all idle followers together; memory, over the bare process.
AIM_CPU: Final = 0.1
AIM_MEMORY: Final = 2.0


async def run(chosen: Options, results: Results) -> None:
    """Measure and print."""
    async with bench_stack(chosen, services=("api", "transcripts")) as stack:
        database, redis = Database(stack.database_url), connect_redis(stack.redis_url)
        try:
            await _idle(chosen, results, stack, database)
            await _fan_out(chosen, results, stack, database, redis)
        finally:
            await redis.aclose()
            await database.close()


async def _idle(chosen: Options, results: Results, stack: Stack, database: Database) -> None:
    number = chosen.pick_sessions(short=200, full=FOLLOWERS)
    watched_s = 10.0 if chosen.short else 30.0
    sessions = [await _put_session(database) for _ in range(number)]
    api = psutil.Process(stack.process("api").pid)
    await asyncio.sleep(_SETTLE_S)
    cpu_before, memory_before = await _cpu(api, watched_s), api.memory_info().rss
    say(f"{number} followers, each of a session of its own …")
    async with _readers(stack.api_url, [f"/v1/sessions/{one}/events" for one in sessions]) as readers:
        await readers.until(lambda: min(readers.events) > TURNS_EACH)
        await asyncio.sleep(_SETTLE_S)
        cpu, memory = await _cpu(api, watched_s), api.memory_info().rss
    each = (memory - memory_before) / number / 1000
    async with _bare(stack) as process:
        bare = psutil.Process(process.pid)
        bare_before = bare.memory_info().rss
        async with _readers(_bare_url(process), ["/events"] * number) as readers:
            await readers.until(lambda: min(readers.events) > 0)
            bare_each = (bare.memory_info().rss - bare_before) / number / 1000
    figures = [
        fact("CPU of the API without followers", f"{cpu_before:.3f} cores"),
        at_most(f"CPU for {number} idle followers", cpu - cpu_before, AIM_CPU, shown="{:.3f} cores"),
        fact("memory a follower, and a reader of the bare process", f"{each:.0f} kB, {bare_each:.0f} kB"),
        at_most("memory a follower over bare", each / bare_each, AIM_MEMORY),
    ]
    results.show("sse", f"{number} idle followers, {TURNS_EACH} turns in each session", figures)


async def _fan_out(chosen: Options, results: Results, stack: Stack, database: Database, redis: Redis) -> None:
    rounds = chosen.pick_rounds(short=30, full=150)
    session_id = SessionId(await _put_session(database))
    async with (
        _bare(stack) as process,
        _readers(_bare_url(process), ["/events"] * READERS) as readers,
    ):
        await readers.until(lambda: min(readers.events) > 0)
        bare = await _times(
            readers, rounds, lambda n: redis.publish(CHANNEL, _envelope(_turn(session_id, n)))
        )
    path = f"/v1/sessions/{session_id}/events"
    async with _readers(stack.api_url, [path] * READERS) as readers:
        await readers.until(lambda: min(readers.events) > TURNS_EACH)
        channel = captions_channel(session_id)

        async def listening() -> bool:
            return dict(await redis.pubsub_numsub(channel))[channel] > 0

        while not await listening():
            await asyncio.sleep(0.05)
        captions = await _times(
            readers, rounds, lambda n: redis.publish(channel, _envelope(_caption(session_id, n)))
        )
        turns = await _times(
            readers,
            rounds,
            lambda n: redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: _envelope(_turn(session_id, 1000 + n))}),
        )
    rows = [("bare", bare), ("a caption", captions), ("a turn, stored on the way", turns)]
    show_times(f"published until read, by each of {READERS} readers", rows)
    figures = [
        fact(f"{name}, p50 and p99", f"{p50(took) * 1e3:.1f} ms, {_p99(took) * 1e3:.1f} ms")
        for name, took in rows
    ]
    figures += [
        at_most("a caption over bare, p99", _p99(captions) / _p99(bare), 3.0),
        at_most("a turn over bare, p99", _p99(turns) / _p99(bare), 5.0),
    ]
    results.show("sse", f"fan-out to {READERS} readers", figures)


class _Readers:
    """Connections that read events as quickly as they can; `events` counts those of each."""

    def __init__(self, number: int) -> None:
        self.events = [0] * number
        self.at = [0.0] * number
        self._came = asyncio.Event()

    async def read(self, index: int, url: str, path: str) -> None:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    self.at[index] = time.perf_counter()
                    self.events[index] += 1
                    self._came.set()
        finally:
            writer.close()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait; raises `TimeoutError`."""
        async with asyncio.timeout(120):
            while not reached():
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def _readers(url: str, paths: list[str]) -> AsyncIterator[_Readers]:
    readers = _Readers(len(paths))
    tasks = [asyncio.create_task(readers.read(n, url, path)) for n, path in enumerate(paths)]
    try:
        yield readers
    finally:
        await stop_all(tasks)


async def _times(readers: _Readers, rounds: int, publish: Callable[[int], Awaitable[object]]) -> list[float]:
    """Return the seconds from publishing until each reader has the event, over all rounds."""
    took: list[float] = []
    for number in range(rounds):
        wanted = min(readers.events) + 1
        started = time.perf_counter()
        await publish(number)
        await readers.until(lambda: min(readers.events) >= wanted)  # noqa: B023
        took += [at - started for at in readers.at]
        await asyncio.sleep(0.05)
    return took


@asynccontextmanager
async def _bare(stack: Stack) -> AsyncIterator[Process]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def ready(_: int) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{url}/openapi.json")).status_code == 200
            except httpx.HTTPError:
                return False

    command = [sys.executable, "-m", "bench.bare_events", "--port", str(port), "--redis-url", stack.redis_url]
    spec = ProcessSpec(
        name="bare",
        command=command,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        cwd=stack.logs,
        log_file=stack.logs / "bare.log",
        ready=ready,
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


def _bare_url(process: Process) -> str:
    command = process.spec.command
    return f"http://127.0.0.1:{command[command.index('--port') + 1]}"


async def _put_session(database: Database) -> str:
    session_id, now = new_id(), datetime.now(UTC)
    row = SessionRow(
        id=session_id,
        status=SessionStatus.REQUESTED,
        room_name=session_id,
        agent_name="agent",
        mode=Mode.PIPELINE,
        participant_identity="caller-1",
        max_attempts=3,
        requested_at=now,
        deadline_at=now,
    )
    async with database.write() as db:
        asked = SessionRequested(room_name=session_id, agent_name="agent", mode=Mode.PIPELINE)
        await add_session(db, row, event=asked)
        row.status, row.next_check_at = SessionStatus.ACTIVE, None
        for number in range(TURNS_EACH):
            turn = _turn(SessionId(session_id), number)
            db.add(TranscriptItemRow(**turn.model_dump(), stored_at=now))
    return session_id


def _turn(session_id: SessionId, number: int) -> TurnFinished:
    return TurnFinished(
        session_id=session_id,
        attempt=1,
        seq=number + 1,
        item_id=f"item_{number:012x}",
        role=Role.USER,
        text=_TEXT,
        created_at=datetime.now(UTC),
    )


def _caption(session_id: SessionId, number: int) -> CaptionChanged:
    return CaptionChanged(
        session_id=session_id, attempt=1, segment_id=f"1.user.{number}", role=Role.USER, text=_TEXT
    )


def _envelope(event: TurnFinished | CaptionChanged) -> str:
    envelope = wrap(event, session_id=event.session_id, source="bench", time=datetime.now(UTC))
    return envelope.model_dump_json(exclude_none=True)


async def _cpu(process: psutil.Process, seconds: float) -> float:
    """Cores in use, on average."""
    before, started = process.cpu_times(), time.perf_counter()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.perf_counter() - started)


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
