"""A written conversation: the agent receives what a caller types from the first moment."""

from typing import Any

import pytest
from livekit.agents.types import TOPIC_CHAT

from shared.contracts.text import MAX_TYPED_BYTES
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e

QUESTIONS = ["What is two plus three?", "What are your opening hours?"]


async def test_somebody_who_writes_as_they_join_is_answered(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    await rollcall.until_event(session_id, "agent.ready.v1")

    async def answered() -> list[str] | None:
        items = (await rollcall.transcript(session_id))["items"]
        asked = [item["text"] for item in items if item["role"] == "user"]
        return asked if QUESTIONS[-1] in asked and items[-1]["role"] == "assistant" else None

    async with guest(started) as room:
        # A guest publishes nothing: these are with the agent up to 3 s before it sees who sent them.
        for question in QUESTIONS:
            await room.local_participant.send_text(question, topic=TOPIC_CHAT)
        assert await until(answered, what="the last question is answered") == QUESTIONS
    await rollcall.until_status(session_id, "ended")


async def test_somebody_who_writes_megabytes_and_a_nul_goes_on_being_answered(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    await rollcall.until_event(session_id, "agent.ready.v1")
    sent = ["x" * 3_000_000, "What is \x00two plus three?", QUESTIONS[-1]]

    async def answered() -> list[dict[str, Any]] | None:
        items = (await rollcall.transcript(session_id))["items"]
        asked = [item for item in items if item["role"] == "user"]
        done = len(asked) == len(sent) and items[-1]["role"] == "assistant"
        return asked if done else None

    async with guest(started) as room:
        for text in sent:
            await room.local_participant.send_text(text, topic=TOPIC_CHAT)
        long, unfit, last = await until(answered, what="the last question is answered")
    assert (long["text"], long["cut_from_bytes"]) == ("x" * MAX_TYPED_BYTES, 3_000_000)
    assert (unfit["text"], unfit["cut_from_bytes"]) == (QUESTIONS[0], None)
    assert last["text"] == QUESTIONS[-1]
    await rollcall.until_status(session_id, "ended")
