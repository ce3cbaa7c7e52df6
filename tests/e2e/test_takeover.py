"""An agent that dies in mid-conversation is replaced by one that knows what was said."""

import json
import os
import signal
from typing import Any

import pytest
from livekit.agents.types import TOPIC_CHAT

from cli.call.caller import Caller
from shared.core.workers.registry import read_fleet
from shared.platform.redis.client import connect_redis
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e

GREETING = "Hello! How can I help you today?"


def job_process(rollcall: Rollcall, session_id: str, attempt: int) -> int:
    """Return the process of this attempt's agent."""
    for line in rollcall.stack.process("agent").log().splitlines():
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("event") == "job_started" and (
            record["session_id"],
            record["attempt"],
        ) == (session_id, attempt):
            return int(record["pid"])
    raise AssertionError(f"no job of attempt {attempt} of session {session_id} has started")


async def stored(rollcall: Rollcall, session_id: str, role: str, count: int) -> list[dict[str, Any]]:
    """The turns, as soon as that many of this role are stored."""

    async def check() -> list[dict[str, Any]] | None:
        items = (await rollcall.transcript(session_id))["items"]
        return items if [item["role"] for item in items].count(role) >= count else None

    items: list[dict[str, Any]] = await until(check, what=f"{count} turns of {role} are stored")
    return items


async def until_replaced(rollcall: Rollcall, session_id: str) -> None:
    async def replaced() -> bool:
        session = await rollcall.session(session_id)
        return bool(session["status"] == "active" and session["attempt"] == 2)

    await until(replaced, what="another agent is in the room")


async def test_a_killed_agent_is_replaced_by_one_that_remembers_and_does_not_greet(
    rollcall: Rollcall,
) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_status(session_id, "active")
        await caller.wait_until_agent_quiet(60)
        await caller.say("Hello, my name is Alice.")
        await caller.wait_until_agent_quiet(60)
        before = await stored(rollcall, session_id, "assistant", 2)
        os.kill(job_process(rollcall, session_id, 1), signal.SIGKILL)
        await until_replaced(rollcall, session_id)
        await rollcall.until_event(session_id, "agent.lost.v1")
        [agent] = await rollcall.agents_in(started["room_name"])
        assert agent == (await rollcall.session(session_id))["agent_identity"]
        await caller.say("What is my name?")
        await caller.wait_until_agent_quiet(60)
        after = await stored(rollcall, session_id, "assistant", 3)
    ended = await rollcall.until_status(session_id, "ended")

    async def complete() -> bool:
        transcript = await rollcall.transcript(session_id)
        return (transcript["state"], transcript["complete"]) == ("closed", True)

    await until(complete, what="the killed agent's turns are counted too, and all are there")
    assert after[: len(before)] == before
    seqs = [item["seq"] for item in after]
    assert seqs[: len(before)] == list(range(1, len(before) + 1))
    assert seqs == sorted(set(seqs))
    assert len({item["id"] for item in after}) == len(after)
    news = after[len(before) :]
    assert [item["role"] for item in news] == ["user", "assistant"], "the new agent speaks when spoken to"
    assert "Alice" in news[1]["text"]
    assert [item["text"] for item in after].count(GREETING) == 1
    assert [attempt["outcome"] for attempt in ended["attempts"]] == ["lost", "joined"]


async def test_a_question_that_the_killed_agent_left_open_is_answered_by_the_next(
    rollcall: Rollcall,
) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    async with guest(started) as room:
        await stored(rollcall, session_id, "assistant", 1)
        # In writing, since the answer depends on every word.
        await room.local_participant.send_text("What are your opening hours?", topic=TOPIC_CHAT)
        asked = await stored(rollcall, session_id, "user", 1)
        os.kill(job_process(rollcall, session_id, 1), signal.SIGKILL)
        assert asked[-1]["role"] == "user", "killed too late: the agent has answered"
        answered = await stored(rollcall, session_id, "assistant", 2)
    assert [item["role"] for item in answered] == ["assistant", "user", "assistant"]
    assert "Monday to Friday" in answered[-1]["text"]
    assert (await rollcall.session(session_id))["attempt"] == 2


async def test_a_worker_tells_at_once_that_the_job_of_a_killed_process_is_over(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    redis = connect_redis(rollcall.stack.redis_url)
    livekit = rollcall.stack.process("livekit")

    async def serving() -> bool:
        return any(session_id in worker.sessions for worker in (await read_fleet(redis)).workers)

    async def not_serving() -> bool:
        return not await serving()

    try:
        await rollcall.until_status(session_id, "active")
        await until(serving, what="the registry says who serves the session")
        job = job_process(rollcall, session_id, 1)
        livekit.freeze()  # so that the session gets no other agent
        try:
            os.kill(job, signal.SIGKILL)
            await until(not_serving, what="the registry says that nobody serves the session")
        finally:
            livekit.thaw()
    finally:
        await redis.aclose()
        await rollcall.end(session_id)
