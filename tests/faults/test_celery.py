"""Celery in normal use: what operators see, and what its broker does to tasks."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from devstack.ports import free_port
from shared.contracts.keys import DISPATCH_QUEUE, HOUSEKEEPING_QUEUE, VERIFY_QUEUE
from tests.support.census import take_census
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.faults


@pytest_asyncio.fixture
async def flower(rollcall: Rollcall, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Flower, looking at the stack's broker."""
    port = free_port()
    log = tmp_path / "flower.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "celery", f"--broker={rollcall.stack.redis_url}"),
            *("flower", "--address=127.0.0.1", f"--port={port}"),
            # Its API is closed without authentication, unless one says so; it listens here only.
            env={**rollcall.stack.env, "FLOWER_UNAUTHENTICATED_API": "true"},
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:

        async def answers() -> bool:
            assert process.returncode is None, log.read_text()
            try:
                return (await http.get("/healthcheck")).is_success
            except httpx.TransportError:
                return False

        try:
            await until(answers, what="flower answers")
            yield http
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_flower_lists_our_celery_workers_with_their_queues(flower: httpx.AsyncClient) -> None:
    async def both() -> dict[str, Any] | None:
        response = await flower.get("/api/workers", params={"refresh": "true"})
        found: dict[str, Any] = response.json() if response.is_success else {}
        return found if len(found) >= 2 and all(_queues(about) for about in found.values()) else None

    workers = await until(both, what="flower knows both Celery workers and their queues")
    queues = {name.split("-")[0]: _queues(about) for name, about in workers.items()}
    assert queues == {"dispatcher": {DISPATCH_QUEUE}, "verifier": {VERIFY_QUEUE, HOUSEKEEPING_QUEUE}}


async def test_a_broker_that_restarts_under_a_burst_costs_no_session(
    rollcall: Rollcall, joiner: str, board: Scoreboard
) -> None:
    redis = rollcall.stack.process("redis")
    started = [await rollcall.start(agent_name=joiner) for _ in range(4)]
    await redis.stop()
    started += [await rollcall.start(agent_name=joiner) for _ in range(4)]
    await redis.start()
    await take_census(rollcall, board, started)


async def test_a_queue_that_is_emptied_costs_no_session(
    rollcall: Rollcall, joiner: str, board: Scoreboard
) -> None:
    from redis.asyncio import Redis

    dispatcher = rollcall.stack.process("dispatcher")
    async with Redis.from_url(rollcall.stack.redis_url) as redis:
        await rollcall.freeze("dispatcher")
        try:
            started = [await rollcall.start(agent_name=joiner) for _ in range(3)]

            async def queued() -> bool:
                return await redis.llen(DISPATCH_QUEUE) + await redis.hlen("unacked") >= 3

            await until(queued, what="the tasks are in the queue")
            await redis.flushdb()
        finally:
            dispatcher.thaw()
        for session in await take_census(rollcall, board, started):
            assert session["status"] == "active", session


def _queues(about: dict[str, Any]) -> set[str]:
    return {queue["name"] for queue in about.get("active_queues") or []}
