"""No log of the whole stack, or of an API with keys, contains a secret or a token."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx

from cli.call.caller import Caller
from tests.stack_fixtures.stacks import StartStack
from tests.support.leaks import leaks_in
from tests.support.sessions import Rollcall, until

ROOT = Path(__file__).parents[2]


async def test_no_process_of_a_stack_logs_a_secret_or_a_token(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_status(started["session_id"], "active")
        await caller.wait_until_agent_quiet(60)
    await rollcall.until_status(started["session_id"], "ended")
    # Also with faults: an unknown model, and requests with tokens in wrong places.
    token = started["participant_token"]
    wrong = await rollcall.start(models={"tts": "cartesia/no-such-voice-model"})
    async with httpx.AsyncClient(base_url=rollcall.stack.api_url) as http:
        await http.get(f"/v1/sessions/{token}?access_token={token}")
        await http.post("/v1/livekit/webhook", content=token, headers={"Authorization": token})
        await http.post("/v1/sessions", json={"models": {"llm": token}})
    await rollcall.end(wrong["session_id"])
    await rollcall.until_gone(started["room_name"])
    assert leaks_in(rollcall.stack, [token, rollcall.stack.livekit_api_secret]) == []


async def rollcall_keys(state: Path, *arguments: str) -> Any:
    """The command itself, as a process; returns its JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from cli.main import app; app()",
        "keys",
        *arguments,
        "--json",
        "--state",
        str(state),
        cwd=state,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_a_fresh_deployment_gets_its_first_key_by_one_command_and_loses_it_by_another(
    start_stack: StartStack,
) -> None:
    stack = await start_stack(services=["api"], env={"API_AUTH": "keys"})
    made = await rollcall_keys(stack.state, "create", "shop")
    async with httpx.AsyncClient(base_url=stack.api_url) as http:
        assert (await http.get("/v1/sessions")).status_code == 401
        http.headers["Authorization"] = f"Bearer {made['key']}"
        started = await http.post("/v1/sessions", json={})
        assert started.status_code == 202

        async def noted() -> Any:
            [key] = (await rollcall_keys(stack.state, "list"))["keys"]
            return key["last_used_at"]

        await until(noted, what="its use is noted")
        await rollcall_keys(stack.state, "revoke", made["id"])

        async def refused() -> bool:
            answer = await http.get("/v1/sessions")
            return answer.status_code == 401 and answer.json()["code"] == "key_revoked"

        await until(refused, what="the revoked key is refused", timeout_s=30)
        await http.get(f"/v1/sessions/{made['key']}?key={made['key']}")
    secrets = [made["key"], started.json()["participant_token"], stack.livekit_api_secret]
    assert leaks_in(stack, secrets) == []
