"""The agent's partner in a room with several people, and how long the agent stays."""

import pytest
from livekit.agents.types import TOPIC_CHAT

from cli.call.caller import Caller
from tests.support.guests import guest, stranger
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e

QUESTION = "What is two plus three?"


async def test_the_agent_listens_to_the_caller_and_stays_for_who_is_left(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    caller = Caller(server_url=started["server_url"], token=started["participant_token"])
    async with guest(stranger(rollcall.stack, started["room_name"], "observer")) as observer:
        await rollcall.until_event(session_id, "agent.ready.v1")
        await observer.local_participant.send_text("Am I your caller?", topic=TOPIC_CHAT)
        async with caller:
            await caller.wait_until_agent_quiet(60)
            await caller.say("Hello, my name is Alice.")
            await caller.wait_until_agent_quiet(60)
        await until_gone(rollcall, started["room_name"], started["participant_identity"])
        await observer.local_participant.send_text(QUESTION, topic=TOPIC_CHAT)
        await until_answered(rollcall, session_id, QUESTION)
        assert (await rollcall.session(session_id))["status"] == "active"
    ended = await rollcall.until_status(session_id, "ended")
    assert ended["end_reason"] == "participant_disconnected"
    said = [turn for turn in (await rollcall.transcript(session_id))["items"] if turn["role"] == "user"]
    assert {turn["participant_identity"] for turn in said[:-1]} == {started["participant_identity"]}
    assert "Alice" in " ".join(turn["text"] for turn in said[:-1])
    assert (said[-1]["text"], said[-1]["participant_identity"]) == (QUESTION, "observer")


@pytest.mark.parametrize("kind", ["sip", "connector", "bridge"])
async def test_a_caller_who_comes_over_a_gateway_has_an_identity_of_its_own(
    rollcall: Rollcall, kind: str
) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    async with (
        guest(stranger(rollcall.stack, started["room_name"], "observer")),
        guest(stranger(rollcall.stack, started["room_name"], "gateway-1", kind=kind)) as phone,
    ):
        await rollcall.until_event(session_id, "agent.ready.v1")
        await phone.local_participant.send_text(QUESTION, topic=TOPIC_CHAT)
        await until_answered(rollcall, session_id, QUESTION)
    await rollcall.until_status(session_id, "ended")


async def test_in_a_room_of_the_clients_somebody_whose_identity_it_did_not_tell_is_served(
    rollcall: Rollcall,
) -> None:
    name = "reception"
    async with guest(stranger(rollcall.stack, name, "watcher")):
        started = await rollcall.start(room_name=name)
        session_id = started["session_id"]
        await rollcall.until_event(session_id, "agent.ready.v1")
        async with guest(stranger(rollcall.stack, name, "visitor")) as visitor:
            await visitor.local_participant.send_text(QUESTION, topic=TOPIC_CHAT)
            await until_answered(rollcall, session_id, QUESTION)
        async with guest(started) as caller:
            await caller.local_participant.send_text("What day is it today?", topic=TOPIC_CHAT)
            await until_answered(rollcall, session_id, "What day is it today?")
    await rollcall.until_status(session_id, "ended")
    said = [turn for turn in (await rollcall.transcript(session_id))["items"] if turn["role"] == "user"]
    assert [turn["participant_identity"] for turn in said] == ["visitor", started["participant_identity"]]


async def until_answered(rollcall: Rollcall, session_id: str, question: str) -> None:
    async def answered() -> bool:
        items = (await rollcall.transcript(session_id))["items"]
        asked = [number for number, turn in enumerate(items) if turn["text"] == question]
        return bool(asked) and any(turn["role"] == "assistant" for turn in items[asked[-1] :])

    await until(answered, what=f"{question!r} is answered")


async def until_gone(rollcall: Rollcall, room_name: str, identity: str) -> None:
    async def gone() -> bool:
        return identity not in await rollcall.people_in(room_name)

    await until(gone, what=f"{identity} has left")
