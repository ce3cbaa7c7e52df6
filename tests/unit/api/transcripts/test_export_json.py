"""Exports for programs."""

import json
import uuid
from datetime import datetime
from typing import Any

import pytest

from services.api.transcripts.export.for_programs import _MOST_HELD_BACK, to_jsonl, to_openai, to_vcon
from services.api.transcripts.schemas import Turn
from tests.unit.api.transcripts.exporting import SESSION_ID, a_session, call, export, output, turn


async def test_json_lines_hold_what_the_json_answer_holds() -> None:
    turns = [turn(1, text="one\ntwo"), call(2, "c1")]
    lines = (await export(to_jsonl, *turns)).splitlines()
    assert [Turn.model_validate_json(line) for line in lines] == turns


async def messages(*turns: Turn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(await export(to_openai, *turns))["messages"]
    unanswered: list[str] = []
    for message in found:
        if message["role"] == "tool":
            unanswered.remove(message["tool_call_id"])
            continue
        assert not unanswered, "the API refuses a message before the answer to a call"
        unanswered = [one["id"] for one in message.get("tool_calls", [])]
    assert not unanswered
    return found


async def test_openai_messages_are_the_conversation() -> None:
    assert await messages(turn(1, role="assistant", text="Hello"), turn(2, text="Hi “there”")) == [
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Hi “there”"},
    ]


async def test_instructions_are_openais_system_message() -> None:
    told = turn(1, kind="instructions", role="system", text="Speak of ships.")
    assert await messages(told, turn(2, text="Hi")) == [
        {"role": "system", "content": "Speak of ships."},
        {"role": "user", "content": "Hi"},
    ]


async def test_openai_messages_hold_calls_of_tools_and_their_answers() -> None:
    assert await messages(call(1, "c1", "look_up", '{"order": 4711}'), output(2, "c1", "sent")) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"order": 4711}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sent"},
    ]


async def test_what_was_said_while_a_tool_worked_comes_after_its_answer() -> None:
    found = await messages(call(1, "c1"), turn(2, text="Hello?"), output(3, "c1"), turn(4, text="Well"))
    assert [message["role"] for message in found] == ["assistant", "tool", "user", "user"]


async def test_calls_at_the_same_time_are_each_answered_in_whatever_order() -> None:
    found = await messages(call(1, "a"), call(2, "b"), output(3, "b", "of b"), output(4, "a", "of a"))
    answers = [(m["tool_call_id"], m["content"]) for m in found if m["role"] == "tool"]
    assert answers == [("a", "of a"), ("b", "of b")]


async def test_a_call_that_was_never_answered_is_given_an_empty_answer() -> None:
    found = await messages(call(1, "c1"), turn(2, text="Hello?"))
    assert [(m["role"], m["content"]) for m in found] == [
        ("assistant", None),
        ("tool", ""),
        ("user", "Hello?"),
    ]


async def test_a_call_that_was_never_answered_does_not_hold_back_a_whole_conversation() -> None:
    said = [turn(seq) for seq in range(2, 3 * _MOST_HELD_BACK)]
    assert len(await messages(call(1, "c1"), *said)) == len(said) + 2


async def test_an_answer_without_a_call_and_a_handoff_are_left_out() -> None:
    handoff = turn(2, kind="agent_handoff", role="assistant", text="a -> b")
    assert await messages(output(1, "c1"), handoff, turn(3, text="Hi")) == [{"role": "user", "content": "Hi"}]


async def test_a_conversation_without_turns_is_json_too() -> None:
    assert await messages() == []
    assert (await vcon())["dialog"] == []
    assert await export(to_jsonl) == ""


_DIALOG = {"type", "start", "duration", "parties", "mediatype", "encoding", "body", "message_id"}
_PARTY = {"name", "validation", "type"}
_ATTACHMENT = {"purpose", "start", "party", "dialog", "mediatype", "encoding", "body"}


async def vcon(*turns: Turn, **session: Any) -> dict[str, Any]:
    """The vCon, checked against the parameters that draft-ietf-vcon-vcon-core-04 knows."""
    found: dict[str, Any] = json.loads(await export(to_vcon, *turns, session=a_session(**session)))
    assert set(found) == {"uuid", "created_at", "subject", "parties", "dialog", "analysis", "attachments"}
    assert all(set(party) <= _PARTY for party in found["parties"])
    for dialog in found["dialog"]:
        assert set(dialog) <= _DIALOG
        assert all(0 <= party < len(found["parties"]) for party in dialog["parties"])
        assert datetime.fromisoformat(dialog["start"]).tzinfo is not None
    for attachment in found["attachments"]:
        assert set(attachment) == _ATTACHMENT
        assert 0 <= attachment["dialog"] < len(found["dialog"])
    return found


async def test_a_vcon_has_its_parties_and_a_dialog_for_each_message() -> None:
    found = await vcon(
        turn(1, role="assistant", text="Hello", duration_s=1.5),
        turn(2, text="Hi"),
        participant_name="Anna",
    )
    assert [party["name"] for party in found["parties"]] == ["Anna", "agent"]
    first, second = found["dialog"]
    assert (first["body"], first["parties"], first["duration"]) == ("Hello", [1, 0], 1.5)
    assert (first["type"], first["mediatype"], first["encoding"]) == ("text", "text/plain", "none")
    assert (second["body"], second["parties"]) == ("Hi", [0, 1])
    assert "duration" not in second


async def test_a_vcon_has_an_id_of_version_eight_that_stays_the_same() -> None:
    one, two = await vcon(), await vcon(turn(1))
    assert one["uuid"] == two["uuid"]
    made = uuid.UUID(one["uuid"])
    assert made.version == 8
    assert made.variant == uuid.RFC_4122
    assert one["uuid"].replace("-8", "-7", 1) == SESSION_ID


async def test_tools_are_attachments_of_the_dialog_before_them() -> None:
    found = await vcon(turn(1), turn(2), call(3, "c1"), output(4, "c1", "sent"))
    assert [(a["purpose"], a["dialog"]) for a in found["attachments"]] == [
        ("function_call", 1),
        ("function_call_output", 1),
    ]
    assert found["attachments"][1]["body"]["output"] == "sent"


@pytest.mark.parametrize("said", ['"', "\\", "\n", "</script>", "\u2028", "🙂"])
async def test_whatever_is_said_stays_json(said: str) -> None:
    assert (await messages(turn(1, text=said)))[0]["content"] == said
    assert (await vcon(turn(1, text=said)))["dialog"][0]["body"] == said
