"""A spoken conversation with a realtime model: heard by both sides, and stored."""

from typing import Any

import pytest

from cli.call.caller import Caller
from services.inference.converse import GREETING, HOURS
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e

QUESTION = "What are your opening hours?"


async def test_a_conversation_with_a_realtime_model_is_heard_and_stored(rollcall: Rollcall) -> None:
    started = await rollcall.start(mode="realtime")
    session_id = started["session_id"]
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_event(session_id, "agent.ready.v1")
        await caller.wait_until_agent_quiet(60)
        greeted = len(caller.heard)
        assert greeted, "the greeting is heard"
        await caller.say(QUESTION)
        await caller.wait_until_agent_quiet(60)
        assert len(caller.heard) > greeted, "the answer is heard"

        async def answered() -> list[Any] | None:
            items: list[Any] = (await rollcall.transcript(session_id))["items"]
            return items if HOURS in [item["text"] for item in items] else None

        items = await until(answered, what="the answer is stored")
    said = [(item["role"], item["text"]) for item in items if item["kind"] == "message"]
    assert said[0] == ("assistant", GREETING)
    assert said[-1] == ("assistant", HOURS)
    [(_, heard)] = [turn for turn in said if turn[0] == "user"]
    assert "opening hours" in heard.lower()
    session = await rollcall.until_status(session_id, "ended")
    assert session["mode"] == "realtime"
    assert (await rollcall.transcript(session_id))["complete"] is True
