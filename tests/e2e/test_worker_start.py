"""An agent worker starts, and is told to stop."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.call.caller import Caller
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
        await until(lambda: _waits(rollcall, late), what="the new session waits for a worker that takes it")
        for one in (late, started):
            await rollcall.end(one["session_id"])
        async with asyncio.timeout(60):
            assert await worker.wait() == 0


async def test_a_cordoned_worker_keeps_its_call_and_takes_no_new_one_and_drained_it_ends(
    rollcall: Rollcall, worker_log: Path
) -> None:
    async with agent_worker(rollcall, worker_log, LIVEKIT_AGENT_NAME="porter") as worker:

        async def standing(**wanted: bool) -> dict[str, Any] | None:
            found = [w for w in (await rollcall.get("/v1/workers"))["workers"] if w["agent_name"] == "porter"]
            return next((w for w in found if wanted.items() <= w.items()), None)

        async def order(what: str) -> None:
            await rollcall.post(f"/v1/workers/{worker_id}/{what}")

        found = await until(standing, what="the worker is registered", timeout_s=120)
        worker_id = found["worker_id"]
        started = await rollcall.start(agent_name="porter")
        await rollcall.until_status(started["session_id"], "active")
        await order("cordon")
        await until(lambda: standing(cordoned=True), what="the registry says that the worker is cordoned")
        late = await rollcall.start(agent_name="porter")
        await until(lambda: _waits(rollcall, late), what="the new session waits for a worker that takes it")
        await order("uncordon")
        await rollcall.until_status(late["session_id"], "active")
        await rollcall.end(late["session_id"])
        await order("drain")
        await until(lambda: standing(draining=True), what="the registry says that the worker drains")
        worker.send_signal(signal.SIGTERM)  # its container is stopped as well
        session = await rollcall.session(started["session_id"])
        assert session["status"] == "active"
        assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
        await rollcall.end(started["session_id"])
        async with asyncio.timeout(60):
            assert await worker.wait() == 0


async def test_a_worker_that_is_stopped_at_once_leaves_its_call_to_another_one(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    async def registered(count: int) -> list[dict[str, Any]]:
        found = [w for w in (await rollcall.get("/v1/workers"))["workers"] if w["agent_name"] == "twin"]
        return found if len(found) == count else []

    async with AsyncExitStack() as stack:
        twins = [
            await stack.enter_async_context(
                agent_worker(rollcall, tmp_path / f"twin-{n}.log", LIVEKIT_AGENT_NAME="twin")
            )
            for n in range(2)
        ]
        workers = await until(lambda: registered(2), what="both workers are registered", timeout_s=120)
        started = await rollcall.start(agent_name="twin")
        session_id = started["session_id"]
        async with Caller(server_url=started["server_url"], token=started["participant_token"]):
            session = await rollcall.until_status(session_id, "active")
            [pid] = [w["pid"] for w in workers if w["worker_id"] == session["attempts"][0]["worker_id"]]
            [stopped] = [twin for twin in twins if twin.pid == pid]
            stopped.send_signal(signal.SIGINT)

            async def replaced() -> dict[str, Any] | None:
                session = await rollcall.session(session_id)
                return session if session["status"] == "active" and session["attempt"] == 2 else None

            session = await until(replaced, what="the agent of the other worker is in the room")
            assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
            assert "worker_stopped" in (tmp_path / f"twin-{twins.index(stopped)}.log").read_text()
            async with asyncio.timeout(60):
                assert await stopped.wait() == 0
        await rollcall.until_status(session_id, "ended")


async def _waits(rollcall: Rollcall, started: dict[str, Any]) -> bool:
    return bool((await rollcall.session(started["session_id"]))["waiting_for"] == "worker_draining")


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
