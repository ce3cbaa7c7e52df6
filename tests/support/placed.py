"""Workers of ours with an address each, and which of them had a session."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.verdicts import Verdict, until_over
from tests.support.workers import OurWorker, our_worker

NAME = "placed"
LIGHT_AGENT = "from tests.support.light_agent import main; main()"


def light_worker(
    rollcall: Rollcall, name: str, log: Path, **env: str
) -> AbstractAsyncContextManager[OurWorker]:
    return our_worker(rollcall, agent_name=name, log=log, env=env, program=LIGHT_AGENT)


@asynccontextmanager
async def workers(
    rollcall: Rollcall, folder: Path, *names: str, **env: str
) -> AsyncIterator[list[OurWorker]]:
    """Workers of ours, with an address each."""
    async with AsyncExitStack() as running:
        each = (
            light_worker(rollcall, name, folder / f"worker-{number}.log", **env)
            for number, name in enumerate(names)
        )
        started = await asyncio.gather(*(running.enter_async_context(worker) for worker in each))
        for worker in started:
            await until_addressed(rollcall, worker)
        yield started


async def registered(rollcall: Rollcall, worker: OurWorker) -> dict[str, Any]:
    found = (await rollcall.get("/v1/workers"))["workers"]
    return next((one for one in found if one["pid"] == worker.process.pid), {})


async def until_addressed(rollcall: Rollcall, worker: OurWorker, *, other_than: str = "") -> dict[str, Any]:
    async def addressed() -> dict[str, Any] | None:
        found = await registered(rollcall, worker)
        address, registered_as = found.get("address"), found.get("worker_id")
        return found if address is not None and registered_as != other_than and found["registered"] else None

    found: dict[str, Any] = await until(addressed, what="the worker has an address")
    return found


async def sessions(rollcall: Rollcall, board: Scoreboard, number: int, name: str = NAME) -> list[Verdict]:
    """Sessions, all at once, each with its agent; ended again."""
    started = [await rollcall.start(agent_name=name) for _ in range(number)]
    joined = []
    for one in started:
        session = await rollcall.until_status(one["session_id"], "active", "failed")
        joined.append(session["status"] == "active")
        await rollcall.end(one["session_id"])
    verdicts = [await until_over(rollcall, one["session_id"]) for one in started]
    board.sessions += number
    board.missing_agents += joined.count(False)
    board.double_agents += sum(verdict.count("agent.extra_removed.v1") > 0 for verdict in verdicts)
    assert all(joined)
    return verdicts


def chosen(verdict: Verdict) -> list[str | None]:
    """The worker of each attempt."""
    return [event["worker_id"] for event in verdict.all("dispatch.started.v1")]


def served_by(verdict: Verdict) -> str:
    return str(verdict.all("agent.assigned.v1")[-1]["worker_id"])


def freeze(worker: OurWorker) -> None:
    os.killpg(worker.process.pid, signal.SIGSTOP)
