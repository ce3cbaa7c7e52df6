"""What a job costs Rollcall while it runs: over Redis itself, and over the API without Redis.

Each job beats twice a second, as the library's jobs do, over a connection of its own. The two ways take turns
on one stack. The clients are in this process, and their CPU is not counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr
from redis.asyncio import Redis

from bench.options import Options, Results, fact, p50, p95, say, show_times
from bench.stacks import bench_stack
from bench.usage import cpu_between, usage
from devstack.stack import Stack
from rollcall_agent.api.backend import ApiBackend
from rollcall_agent.api.link import Link
from shared.contracts.agent_calls import JOB_PATH
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import TURNS_STREAM
from shared.contracts.sessions import Role
from shared.core.workers.backend import AttemptBackend, Backend, RedisBackend
from shared.core.workers.beats import JOB_BEAT_INTERVAL_S
from shared.core.workers.credentials import KeyPair
from shared.platform.background import stop_all
from shared.platform.redis.client import connect_redis

JOBS: Final = 1000
OPENED_AT_ONCE: Final = 20
SETTLE_S: Final = 3.0
TURNS: Final = 200
_TEXT: Final = "This is a turn, and it goes on for about as long as people talk. " * 2


@dataclass(frozen=True)
class _Job:
    session_id: SessionId
    backend: Backend
    attempt: AttemptBackend


@dataclass(frozen=True)
class _Cost:
    """What the jobs of one way cost: cores, Redis commands a second, and megabytes of each process."""

    api_cores: float
    redis_cores: float
    commands: float
    api_mb: float
    redis_mb: float
    turns_s: Sequence[float]


async def run(chosen: Options, results: Results) -> None:
    """Measure and print."""
    number = chosen.pick_sessions(short=200, full=JOBS)
    watched_s = 10.0 if chosen.short else 30.0
    async with bench_stack(chosen, services=("api",)) as stack:
        costs = {
            name: await _measure(stack, number, watched_s, way)
            for name, way in (("over Redis", _direct(stack)), ("over the API", _api(stack)))
        }
    show_times("a turn, until the stream has it", [(name, cost.turns_s) for name, cost in costs.items()])
    beats = number / JOB_BEAT_INTERVAL_S
    figures = [fact("beats a second, of all jobs", f"{beats:.0f}")]
    for name, cost in costs.items():
        figures += [
            fact(f"{name}: Redis commands for a beat", f"{cost.commands / beats:.1f}"),
            fact(
                f"{name}: CPU of Redis and of the API", f"{cost.redis_cores:.2f}, {cost.api_cores:.2f} cores"
            ),
            fact(f"{name}: CPU of both for a beat", f"{_beat_ms(cost, beats):.2f} ms"),
            fact(
                f"{name}: memory of Redis and of the API for a job",
                f"{cost.redis_mb / number * 1000:.0f}, {cost.api_mb / number * 1000:.0f} kB",
            ),
            fact(
                f"{name}: a turn, p50 and p95",
                f"{p50(cost.turns_s) * 1e3:.1f} ms, {p95(cost.turns_s) * 1e3:.1f} ms",
            ),
        ]
    direct, api = costs.values()
    figures += [
        fact("API over Redis: CPU for a beat", f"{_beat_ms(api, beats) / _beat_ms(direct, beats):.1f}"),
        fact("API over Redis: a turn, p50", f"{p50(api.turns_s) / p50(direct.turns_s):.1f}"),
    ]
    results.show("agents", f"{number} jobs, each with two beats a second", figures)


def _beat_ms(cost: _Cost, beats: float) -> float:
    return (cost.api_cores + cost.redis_cores) / beats * 1000


async def _measure(stack: Stack, number: int, watched_s: float, way: Callable[[SessionId], Backend]) -> _Cost:
    redis = connect_redis(stack.redis_url)
    before = usage(stack)
    say(f"{number} jobs {way.__name__} …")
    async with _beating(number, way) as jobs:
        await asyncio.sleep(SETTLE_S)
        began, commands, then = time.perf_counter(), await _commands(redis), usage(stack)
        await asyncio.sleep(watched_s)
        now, done = usage(stack), await _commands(redis)
        took = time.perf_counter() - began
        turns = [await _published(jobs[n % number], n) for n in range(TURNS)]
    cores = {name: seconds / took for name, seconds in cpu_between(then, now).items()}
    await redis.aclose()
    return _Cost(
        api_cores=cores["api"],
        redis_cores=cores["redis"],
        commands=(done - commands) / took,
        api_mb=now["api"].rss_mb - before["api"].rss_mb,
        redis_mb=now["redis"].rss_mb - before["redis"].rss_mb,
        turns_s=turns,
    )


def _direct(stack: Stack) -> Callable[[SessionId], Backend]:
    def over_redis(_: SessionId) -> Backend:
        return RedisBackend(connect_redis(stack.redis_url))

    return over_redis


def _api(stack: Stack) -> Callable[[SessionId], Backend]:
    pair = KeyPair(stack.livekit_api_key, SecretStr(stack.livekit_api_secret))

    def over_the_api(session_id: SessionId) -> Backend:
        credential = pair.sign_attempt(session_id, 1)
        link = Link(
            stack.api_url.replace("http", "ws", 1) + JOB_PATH,
            bearer=lambda: credential,
            headers={"X-Rollcall-Worker": "bench"},
        )
        link.start()
        backend = ApiBackend(link, presents=False)
        backend.attempt(session_id, 1, credential)
        return backend

    return over_the_api


@asynccontextmanager
async def _beating(number: int, way: Callable[[SessionId], Backend]) -> AsyncIterator[list[_Job]]:
    jobs: list[_Job] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        while len(jobs) < number:
            new = [_open(way) for _ in range(min(OPENED_AT_ONCE, number - len(jobs)))]
            await asyncio.gather(*(_first_beat(job) for job in new))
            tasks += [asyncio.create_task(_beat_for_ever(job)) for job in new]
            jobs += new
        yield jobs
    finally:
        await stop_all(tasks)
        for job in jobs:
            await job.attempt.forget()
            await job.backend.aclose()


def _open(way: Callable[[SessionId], Backend]) -> _Job:
    session_id = SessionId(new_id())
    backend = way(session_id)
    return _Job(session_id, backend, backend.attempt(session_id, 1, None))


async def _first_beat(job: _Job) -> None:
    await job.attempt.beat("AJ_bench", 0)


async def _beat_for_ever(job: _Job) -> None:
    count = 0
    while True:
        count += 1
        await job.attempt.beat("AJ_bench", count)
        await asyncio.sleep(JOB_BEAT_INTERVAL_S)


async def _published(job: _Job, number: int) -> float:
    """Seconds until a turn of the job is in the stream."""
    turn = TurnFinished(
        session_id=job.session_id,
        attempt=1,
        seq=number + 1,
        item_id=f"item_{number}",
        role=Role.USER,
        text=_TEXT,
        created_at=datetime.now(UTC),
    )
    envelope = wrap(turn, session_id=job.session_id, source="bench", time=datetime.now(UTC))
    return await _timed(job.backend.publish(TURNS_STREAM, [envelope]))


async def _timed(doing: Awaitable[None]) -> float:
    began = time.perf_counter()
    await doing
    return time.perf_counter() - began


async def _commands(redis: Redis) -> int:
    said = await redis.info("stats")
    return int(said["total_commands_processed"])
