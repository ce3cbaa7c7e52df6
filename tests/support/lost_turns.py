"""Talks that lose their last turns, and what is left of them on the worker's disk."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil

from tests.support.sessions import until
from tests.support.spoken import Job, spoken_in
from tests.support.talks import Line, Talk

QUESTIONS = ("What are your opening hours?", "What is two plus three?", "What day is it today?")
# More than fits into what is left of the last page of a file.
LONG_QUESTION = ("Are you still there? " * 300).strip()


@asynccontextmanager
async def disk_full(line: Line, pid: int) -> AsyncIterator[None]:
    """Fill the spool's own disk; where it has none, let the job's files grow no more."""
    filler = line.spool / "filler"
    if line.spool.is_mount():
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 512)
            except OSError:
                pass
        yield
        filler.unlink()
        return
    job = psutil.Process(pid)
    limits = job.rlimit(psutil.RLIMIT_FSIZE)
    size = max(file.stat().st_size for file in line.spool.glob("*.jsonl"))
    job.rlimit(psutil.RLIMIT_FSIZE, (size, limits[1]))
    yield
    job.rlimit(psutil.RLIMIT_FSIZE, limits)


def has_closed(talk: Talk) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return talk.jobs[-1].history is not None

    return check


def is_unclosed(talk: Talk) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool((await talk.line.rollcall.transcript(talk.session_id))["state"] == "unclosed")

    return check


async def lose_turns(talk: Talk, *, is_killed: bool) -> list[int]:
    """Leave the job's last turns only in its memory, so that they die with it; return their numbers."""
    line, job = talk.line, talk.jobs[-1]
    failures, errors = await line.metric("agent_spool_failures_total"), line.log().count("spool_failed")
    line.wire.cut()
    try:
        async with disk_full(line, job.pid):
            await talk.exchange(LONG_QUESTION)
            # There may be room for a few short turns.
            while any(line.on_disk(turn) for turn in spoken_in(talk.jobs)[-2:]):
                await talk.exchange(QUESTIONS[2])
            said = spoken_in(talk.jobs)
            missing = [seq for seq, turn in enumerate(said, start=1) if not line.on_disk(turn)]

            async def told() -> bool:
                counted = await line.metric("agent_spool_failures_total") >= failures + len(missing)
                return counted and line.log().count("spool_failed") > errors

            await until(told, what="metric and log tell of the turns that are not on disk")
            if is_killed:
                os.kill(job.pid, signal.SIGKILL)
            else:
                await line.rollcall.end(talk.session_id)
            await until(is_gone(job), what="the job's process is gone")
    finally:
        await line.restore_wire()
    return missing


def is_gone(job: Job) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not psutil.pid_exists(job.pid)

    return check


def is_over(talk: Talk) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        job = talk.jobs[-1]
        return job.history is not None and not psutil.pid_exists(job.pid)

    return check


async def no_spool_is_left(line: Line) -> None:
    async def gone() -> bool:
        return not list(line.spool.glob("*.jsonl"))

    await until(gone, what="nothing is left on the worker's disk")
