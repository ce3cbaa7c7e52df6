"""What an operator sees when an agent worker starts."""

import asyncio
import sys

import pytest

from tests.support.sessions import Rollcall

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


async def test_a_worker_with_a_wrong_secret_ends_with_an_error(rollcall: Rollcall) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.agent",
        env={**rollcall.stack.env, "LIVEKIT_API_SECRET": "x" * 40, "AGENT_HTTP_PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(120):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode != 0
    assert b"x" * 40 not in output
