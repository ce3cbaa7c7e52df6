"""LiveKit is down while thousands of sessions start, then it comes back.

While it is down, there should be few calls to it and flat memory. When it is back, every session should be
resolved, without a stampede. Each session is ended as soon as its agent has joined, so that the agents' slots
don't become the limit.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import aiohttp
from sqlalchemy import func, select
from sqlmodel import col

from bench.client import Client, open_client
from bench.joiners import Joiners, running_joiners
from bench.options import BenchFailed, Options, Results, at_most, say, seconds
from bench.outage_log import CALLS_PER_S, SAMPLE_S, WATCHED, Log, Sample, call_rates, judge
from bench.stacks import bench_stack
from bench.usage import usage
from devstack.stack import Stack
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.background import stop_all
from shared.platform.database.database import Database

# The longest that the settings allow.
BUDGET_S = 600
AT_ONCE = 16
ENDS_AT_ONCE = 4
# By then the relay has published the agent's join, or it never will.
UNTOLD_S = 15.0
SLOTS = 200
TELL_EVERY_S = 5.0
# By then a session past its deadline has failed, and one that got its agent has ended.
SLACK_S = 60.0


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    sessions = chosen.pick_sessions(short=500, full=10_000)
    pause_s = 10.0 if chosen.short else 60.0
    env = {"JOIN_BUDGET_S": str(BUDGET_S), "LIVEKIT_CALLS_PER_S": str(CALLS_PER_S)}
    async with (
        bench_stack(chosen, env=env) as stack,
        running_joiners(stack, slots=SLOTS) as joiners,
        open_client(stack) as client,
        _database(stack) as database,
    ):
        log = Log()
        async with _ending(client), _sampling(log, stack, client, database, joiners, sessions):
            await _warm_up(client)
            rooms = await _outage(stack, client, log, sessions, pause_s)
            untold = await _until_over(log, client, 1 + sessions)
        joiners.refresh()
        causes = await _causes(database)
    figures = judge(log, sessions, doubles=joiners.doubles(rooms), causes=causes)
    figures.append(at_most("joins never published on the event stream", untold, 0, shown="{:.0f}"))
    results.show("outage", f"{sessions} sessions pending while LiveKit is down", figures)


@asynccontextmanager
async def _database(stack: Stack) -> AsyncIterator[Database]:
    database = Database(stack.database_url)
    try:
        yield database
    finally:
        await database.close()


async def _warm_up(client: Client) -> None:
    session_id = (await client.start(agent_name="light"))["session_id"]
    await client.feed.until(session_id, "agent.joined.v1", timeout_s=60)
    await client.feed.until(session_id, "session.ended.v1", timeout_s=60)
    await asyncio.sleep(3 * SAMPLE_S)  # memory of the first session does not count as growth


@asynccontextmanager
async def _ending(client: Client) -> AsyncIterator[None]:
    """End each session once its agent has joined."""

    async def end() -> None:
        while True:
            session_id = await client.feed.joined.get()
            try:
                await client.end(session_id)
            except (aiohttp.ClientError, TimeoutError, BenchFailed) as failed:
                say(f"session {session_id} not ended, again: {failed}")
                await asyncio.sleep(SAMPLE_S)
                client.feed.joined.put_nowait(session_id)

    ending = [asyncio.create_task(end()) for _ in range(ENDS_AT_ONCE)]
    try:
        yield
    finally:
        await stop_all(ending)


async def _outage(stack: Stack, client: Client, log: Log, sessions: int, pause_s: float) -> set[str]:
    """Stop LiveKit, start the sessions, wait, and start LiveKit again; return the rooms."""
    say("LiveKit stops")
    await stack.process("livekit").stop()
    log.stopped = time.monotonic()
    numbers, rooms = iter(range(sessions)), set[str]()

    async def ask() -> None:
        for _ in numbers:
            rooms.add((await client.start(agent_name="light"))["room_name"])

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    log.all_asked = time.monotonic()
    say(f"all {sessions} sessions started in {seconds(log.all_asked - log.stopped)}; LiveKit stays down")
    await asyncio.sleep(pause_s)
    await stack.process("livekit").start()
    log.back = time.monotonic()
    say("LiveKit is back")
    return rooms


@asynccontextmanager
async def _sampling(
    log: Log, stack: Stack, client: Client, database: Database, joiners: Joiners, sessions: int
) -> AsyncIterator[None]:
    async def sample() -> None:
        told_at = 0.0
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                calls = await client.livekit_calls()
                now = time.monotonic()
                used, statuses = usage(stack, joiners.processes), await _statuses(database)
                log.samples.append(Sample(now, calls, used, statuses))
            if log.samples and time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                _tell(log, sessions)
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample(), name="sampling")
    try:
        yield
    finally:
        await stop_all([sampling])
        if not sampling.cancelled():
            sampling.result()  # raises the error of a sampler that failed


def _tell(log: Log, sessions: int) -> None:
    last = log.samples[-1]
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(last.statuses.items()))
    memory = ", ".join(f"{name} {last.usage[name].rss_mb:.0f} MB" for name in WATCHED if name in last.usage)
    rates = call_rates(log.samples[-2:])
    calls = ", ".join(f"{name} {max(rates[name]):.0f}" for name in WATCHED if rates.get(name))
    say(f"of {sessions}: {statuses}; {memory}; calls/s: {calls or '-'}")


async def _statuses(database: Database) -> Counter[str]:
    async with database.read() as db:
        rows = await db.execute(select(col(SessionRow.status), func.count()).group_by(col(SessionRow.status)))
        return Counter({str(status): number for status, number in rows.all()})


async def _causes(database: Database) -> Counter[str]:
    failed = col(SessionRow.status) == SessionStatus.FAILED
    async with database.read() as db:
        rows = await db.execute(
            select(col(SessionRow.cause), func.count()).where(failed).group_by(col(SessionRow.cause))
        )
        return Counter({str(cause): number for cause, number in rows.all()})


async def _until_over(log: Log, client: Client, expected: int) -> int:
    """Wait until every session is over; sessions that never end are stuck.

    Returns how many joined without an event on the event stream; these are ended too.
    """
    deadline = log.all_asked + BUDGET_S + SLACK_S
    untold: set[str] = set()
    while time.monotonic() < deadline:
        after = log.between(log.back)
        if len(after) > 2 and after[-1].over >= expected:
            break
        await asyncio.sleep(2 * SAMPLE_S)
        active = (await client.get("/v1/sessions?status=active&limit=200"))["sessions"]
        for session_id in {session["session_id"] for session in active} - untold:
            age = time.time() - _active_at(active, session_id)
            if age > UNTOLD_S and client.feed.first(session_id, "agent.joined.v1") is None:
                untold.add(session_id)
                client.feed.joined.put_nowait(session_id)
    return len(untold)


def _active_at(sessions: list[dict[str, Any]], session_id: str) -> float:
    timings = next(s["timings"] for s in sessions if s["session_id"] == session_id)
    return datetime.fromisoformat(timings["active_at"]).timestamp()
