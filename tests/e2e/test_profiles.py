"""A profile in place of code: instructions, greeting, MCP and HTTP tools, the hang-up, and limits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.call.caller import Caller
from devstack.ports import free_port
from tests.support.mcp_server import McpProcess, mcp_server, silent_server
from tests.support.receiver import Receiver
from tests.support.sessions import Rollcall, until
from tests.support.workers import our_worker

pytestmark = pytest.mark.e2e

NAME = "shop"
BUILT_IN = "from services.agent.__main__ import main; main()"
TOKEN = "a-token-of-the-tests"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def shop(*, mcp_url: str, silent_url: str, http_url: str) -> dict[str, Any]:
    """What a user writes for one agent; its secrets are in the worker's environment."""
    weather = {
        "url": mcp_url,
        "headers": {"Authorization": "Bearer ${AGENT_SECRET_TOKEN}"},
        "allowed_tools": ["lookup_weather"],
    }
    order = {
        "name": "order_status",
        "description": "Look up where an order is.",
        "parameters": {"type": "object", "properties": {}},
        "url": http_url,
        "secret": "${AGENT_SECRET_SHOP}",
    }
    return {
        "instructions": "You are the clerk of {{ shop.name }}.",
        "greeting": "Welcome to {{ shop.name }}!",
        "mcp_servers": [weather, {"url": silent_url}],
        "http_tools": [order],
        "hang_up": True,
        "limits": {"duration_s": 600, "silence_s": 120},
    }


@asynccontextmanager
async def worker_of(
    rollcall: Rollcall, folder: Path, name: str, profiles: dict[str, Any], **env: str
) -> AsyncIterator[Path]:
    """Run a worker with the profile of its name; its log is yielded."""
    file = folder / "agents.yaml"
    file.write_text(yaml.safe_dump(profiles))
    log = folder / f"{name}.log"
    env = {"AGENT_PROFILES": str(file), **env}
    async with our_worker(rollcall, agent_name=name, log=log, env=env, program=BUILT_IN):
        yield log


async def test_a_profile_talks_with_its_tools_and_hangs_up(rollcall: Rollcall, tmp_path: Path) -> None:
    async with mcp_server(TOKEN) as weather, silent_server() as silent_url, Receiver() as orders:
        profile = shop(mcp_url=weather.url, silent_url=silent_url, http_url=orders.url)
        env = {"AGENT_SECRET_TOKEN": TOKEN, "AGENT_SECRET_SHOP": SECRET, "TRANSCRIPT_INSTRUCTIONS": "true"}
        async with worker_of(rollcall, tmp_path, NAME, {NAME: profile, "other": {}}, **env) as log:
            session, items = await _conversation(rollcall, weather)
    said = [(item["role"], item["text"]) for item in items if item["kind"] == "message"]
    assert said[0] == ("assistant", "Welcome to Tulip!")
    tools = [item["text"] for item in items if item["role"] == "tool"]
    assert tools[:2] == ['lookup_weather({"location": "Paris"})', "sunny in Paris"]
    assert tools[2:4] == ["order_status({})", "what the endpoint says"]
    assert any("sunny in Paris" in text for role, text in said if role == "assistant")
    assert "You are the clerk of Tulip." in [item["text"] for item in items]
    # The server of the weather has died by then, and the call goes on.
    assert tools[4] == 'lookup_weather({"location": "London"})'
    assert "sunny" not in tools[5]
    [asked] = orders.received
    assert asked.verified(SECRET) == {
        "tool": "order_status",
        "arguments": {},
        "session_id": session["session_id"],
    }
    # The server that never answers has cost the call its tools, and nothing else.
    [attempt] = session["attempts"]
    assert attempt["error"]["type"] == "mcp_server_failed"
    assert attempt["error"]["recoverable"] is True
    assert silent_url in attempt["error"]["message"]
    assert session["failure"] is None
    assert attempt["close_reason"] == session["end_reason"] == "hung_up"
    written = json.dumps([items, session]) + log.read_text()
    assert TOKEN not in written
    assert SECRET not in written


async def _conversation(
    rollcall: Rollcall, weather: McpProcess
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    started = await rollcall.start(agent_name=NAME, metadata={"shop": {"name": "Tulip"}})
    session_id = started["session_id"]
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_event(session_id, "agent.ready.v1")
        await caller.wait_until_agent_quiet(60)
        for sentence in ("What is the weather in Paris?", "What is the status of my order?"):
            await caller.say(sentence)
            await caller.wait_until_agent_quiet(60)
        await weather.kill()
        await caller.say("What is the weather in London?")
        await caller.wait_until_agent_quiet(60)
        await caller.say("Please hang up now.")
        ended = await rollcall.until_status(session_id, "ended")

    async def stored() -> list[dict[str, Any]] | None:
        transcript = await rollcall.transcript(session_id)
        items: list[dict[str, Any]] = transcript["items"]
        return items if transcript["complete"] else None

    items = await until(stored, what="the transcript is complete")
    return ended, items


@pytest.mark.parametrize(
    ("limits", "reason"), [({"silence_s": 1}, "too_quiet"), ({"duration_s": 3}, "too_long")]
)
async def test_an_agent_leaves_when_a_limit_is_reached(
    rollcall: Rollcall, tmp_path: Path, limits: dict[str, float], reason: str
) -> None:
    async with worker_of(rollcall, tmp_path, reason, {reason: {"limits": limits}}):
        started = await rollcall.start(agent_name=reason)
        async with Caller(server_url=started["server_url"], token=started["participant_token"]):
            ended = await rollcall.until_status(started["session_id"], "ended")
    assert ended["attempts"][-1]["close_reason"] == ended["end_reason"] == reason
    assert len(ended["attempts"]) == 1, "nobody takes the place of an agent that is done"


async def test_an_agent_without_tools_that_it_requires_gives_up_with_the_cause(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    profiles = {"strict": {"mcp_servers": [{"url": url, "required": True}]}}
    async with worker_of(rollcall, tmp_path, "strict", profiles):
        started = await rollcall.start(agent_name="strict")
        async with Caller(server_url=started["server_url"], token=started["participant_token"]):
            failed = await rollcall.until_status(started["session_id"], "failed")
    assert failed["failure"]["cause"] == "entrypoint_failed"
    assert failed["failure"]["evidence"]["type"] == "mcp_server_failed"
    assert url in failed["failure"]["evidence"]["message"]


async def test_a_stored_profile_reaches_the_agents_of_the_sessions_that_come_after_it(
    rollcall: Rollcall, tmp_path: Path
) -> None:
    route = "/v1/agents/stored"
    async with worker_of(rollcall, tmp_path, "stored", {"stored": {"greeting": "From the file."}}):
        await rollcall.put(route, {"greeting": "Hello, {{ name }}.", "hang_up": True})
        first = await _greeted(rollcall, "Hello, Anna.", metadata={"name": "Anna"})
        needs = {"url": "https://tools.example/mcp", "headers": {"A": "${AGENT_SECRET_ABSENT}"}}
        await rollcall.put(route, {"mcp_servers": [needs]})
        started = await rollcall.start(agent_name="stored")
        failed = await rollcall.until_status(started["session_id"], "failed")
    assert (first["profile_version"], failed["profile_version"]) == (1, 2)
    assert failed["failure"]["evidence"]["message"] == (
        "version 2 of the profile needs AGENT_SECRET_ABSENT, which the worker's environment lacks"
    )


async def _greeted(rollcall: Rollcall, greeting: str, **wish: Any) -> dict[str, Any]:
    started = await rollcall.start(agent_name="stored", **wish)
    session_id = started["session_id"]
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await caller.wait_until_agent_quiet(60)

        async def said() -> bool:
            items = (await rollcall.transcript(session_id))["items"]
            return greeting in [item["text"] for item in items]

        await until(said, what=f"{greeting!r} is said")
        return await rollcall.session(session_id)
