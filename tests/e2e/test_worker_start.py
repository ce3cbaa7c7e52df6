"""An agent worker starts, and is told to stop."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e


async def test_the_worker_says_under_which_name_and_id_it_is_registered(rollcall: Rollcall) -> None:
    [worker] = (await rollcall.get("/v1/workers"))["workers"]
    log = rollcall.stack.process("agent").log()
    assert "all required environment variables are set" in log
    assert "connecting to LiveKit" in log
    assert worker["worker_id"] in log
    assert worker["agent_name"] == "agent"
    assert worker["models"]["llm"] == "openai/gpt-5-mini"
    health = await rollcall.get("/health/agent")
    assert health["agent_status"] == "livekit_connected"
    assert health["agent_worker_info"]["agent_name"] == "agent"
    assert health["root_cause"] == []


async def test_a_worker_with_a_wrong_secret_ends_with_an_error(rollcall: Rollcall, worker_log: Path) -> None:
    async with agent_worker(rollcall, worker_log, LIVEKIT_API_SECRET="x" * 40) as worker:
        async with asyncio.timeout(120):
            assert await worker.wait() != 0
    assert "x" * 40 not in worker_log.read_text()


async def test_a_sigterm_lets_the_call_go_on_and_takes_no_new_one(
    rollcall: Rollcall, worker_log: Path
) -> None:
    async with agent_worker(rollcall, worker_log, LIVEKIT_AGENT_NAME="leaver") as worker:

        async def seen() -> dict[str, object] | None:
            workers = (await rollcall.get("/v1/workers"))["workers"]
            return next((w for w in workers if w["agent_name"] == "leaver"), None)

        async def draining() -> bool:
            found = await seen()
            return bool(found and found["draining"])

        await until(seen, what="the worker is registered", timeout_s=120)
        started = await rollcall.start(agent_name="leaver")
        await rollcall.until_status(started["session_id"], "active")
        worker.send_signal(signal.SIGTERM)
        await until(draining, what="the registry says that the worker drains")
        late = await rollcall.start(agent_name="leaver")
        session = await rollcall.session(started["session_id"])
        assert session["status"] == "active"
        assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
        refused = await rollcall.until_status(late["session_id"], "failed")
        assert refused["failure"]["cause"] == "worker_draining"
        await rollcall.end(started["session_id"])
        async with asyncio.timeout(60):
            assert await worker.wait() == 0


@asynccontextmanager
async def agent_worker(rollcall: Rollcall, log: Path, **env: str) -> AsyncIterator[Process]:
    """One more agent worker beside the stack's own."""
    with log.open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.agent",
            env={**rollcall.stack.env, "AGENT_HTTP_PORT": "0", "AGENT_IDLE_PROCESSES": "1", **env},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield worker
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
