"""How the SDK's conversation items become turns."""

from datetime import UTC, datetime
from typing import Any

import pytest
from livekit.agents.llm import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)
from structlog.testing import capture_logs

from rollcall_agent.job.turns import TurnLog
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import TurnFinished
from shared.contracts.sessions import Role
from shared.contracts.text import MAX_EVENT_BYTES
from tests.unit.agent.agent_fakes import FACTS, SESSION, ListedOutbox, an_order


def a_log(order: DispatchOrder | None = None) -> tuple[TurnLog, ListedOutbox]:
    outbox = ListedOutbox()
    return TurnLog(order=order or an_order(), facts=FACTS, outbox=outbox), outbox


def turns(outbox: ListedOutbox) -> list[TurnFinished]:
    return [event for event in outbox.events if isinstance(event, TurnFinished)]


def a_message(text: str = "Hello", role: Any = "assistant", **fields: Any) -> ChatMessage:
    return ChatMessage(role=role, content=[text], **fields)


def test_a_user_turn_carries_its_speaker_and_what_the_sdk_knows_of_it() -> None:
    log, outbox = a_log()
    item = a_message(
        " What time is it? ",
        "user",
        transcript_confidence=0.9,
        created_at=100.0,
        metrics={
            "started_speaking_at": 98.0,
            "stopped_speaking_at": 99.5,
            "transcription_delay": 0.3,
            "llm_node_tps": 3000.0,  # no latency
            "provider_request_ids": ["x"],
        },
    )
    log.message(item, caller="caller-1", language="en")
    [turn] = turns(outbox)
    assert outbox.offered[0][0] == "rollcall:turns"
    assert (turn.session_id, turn.attempt, turn.job_id, turn.worker_id) == (SESSION, 1, "AJ_1", "AW_1")
    assert (turn.item_id, turn.kind, turn.role, turn.text) == (
        item.id,
        "message",
        Role.USER,
        "What time is it?",
    )
    assert (turn.participant_identity, turn.language, turn.confidence) == ("caller-1", "en", 0.9)
    assert turn.created_at == datetime.fromtimestamp(100, UTC)
    assert (turn.started_at, turn.ended_at) == (
        datetime.fromtimestamp(98, UTC),
        datetime.fromtimestamp(99.5, UTC),
    )
    assert turn.metrics == {"transcription_delay": 0.3}


def test_an_agent_turn_has_no_caller_and_says_that_it_was_interrupted() -> None:
    log, outbox = a_log()
    log.message(a_message(interrupted=True), caller="caller-1", language="en")
    [turn] = turns(outbox)
    assert (turn.role, turn.interrupted) == (Role.ASSISTANT, True)
    assert (turn.participant_identity, turn.language, turn.started_at) == (None, None, None)


def test_instructions_and_empty_messages_are_nobodys_turn() -> None:
    log, outbox = a_log()
    for item in (a_message("Be nice", "system"), a_message("Be nice", "developer"), a_message("  ")):
        log.message(item, caller=None, language=None)
    assert outbox.offered == []
    assert log.count == 0


def test_instructions_that_are_asked_for_are_one_turn_and_a_change_of_tools_is_none() -> None:
    log, outbox = a_log()
    told = AgentConfigUpdate(instructions="Speak of ships.", tools_added=["sail"], created_at=100.0)
    for item in (told, AgentConfigUpdate(tools_removed=["sail"]), told):
        log.instructions(item)
    [turn] = turns(outbox)
    assert (turn.kind, turn.role, turn.text) == ("instructions", Role.SYSTEM, "Speak of ships.")
    assert (turn.item_id, turn.created_at) == (told.id, datetime.fromtimestamp(100, UTC))


def test_numbers_go_on_from_the_orders_first_and_an_item_counts_once() -> None:
    log, outbox = a_log(an_order(attempt=2, first_seq=6))
    first, second = a_message("one"), a_message("two")
    for item in (first, second, first):
        log.message(item, caller=None, language=None)
    assert [(turn.seq, turn.attempt) for turn in turns(outbox)] == [(6, 2), (7, 2)]
    assert log.count == 2


def test_a_tool_call_and_its_answer_are_two_turns() -> None:
    log, outbox = a_log()
    log.tool(
        FunctionCall(call_id="c1", name="weather", arguments='{"city": "Graz"}'),
        FunctionCallOutput(call_id="c1", name="weather", output="sunny", is_error=False),
    )
    call, output = turns(outbox)
    assert (call.kind, call.role, call.extra) == (
        "function_call",
        Role.TOOL,
        {"call_id": "c1", "name": "weather"},
    )
    assert call.text == 'weather({"city": "Graz"})'
    assert (output.kind, output.text) == ("function_call_output", "sunny")
    assert output.extra == {"call_id": "c1", "name": "weather", "is_error": False}


def test_a_handoff_is_a_turn_but_the_first_agents_start_is_none() -> None:
    log, outbox = a_log()
    log.handoff(AgentHandoff(old_agent_id=None, new_agent_id="desk"))
    log.handoff(AgentHandoff(old_agent_id="desk", new_agent_id="billing"))
    [turn] = turns(outbox)
    assert (turn.kind, turn.extra["new_agent_id"]) == ("agent_handoff", "billing")


def test_a_job_of_somebody_else_publishes_no_turns() -> None:
    outbox = ListedOutbox()
    log = TurnLog(order=None, facts=FACTS, outbox=outbox)
    log.message(a_message(), caller=None, language=None)
    assert outbox.offered == []


UNFIT = ["\ud83d", "a\x00b", "x" * 530_000, '{"page": "' + "\\u0001" * 100_000 + '"}']


@pytest.mark.parametrize("unfit", UNFIT, ids=["half a character", "nul", "long", "long escapes"])
def test_what_a_tool_returns_costs_neither_its_turn_nor_the_next_ones(unfit: str) -> None:
    log, outbox = a_log()
    for call_id in ("c1", "c2"):
        log.tool(
            FunctionCall(call_id=call_id, name="look_up", arguments=unfit),
            FunctionCallOutput(call_id=call_id, name="look_up", output=unfit, is_error=False),
        )
    log.message(a_message("and on"), caller=None, language=None)
    found = turns(outbox)
    assert [turn.seq for turn in found] == [1, 2, 3, 4, 5]
    assert [turn.extra["call_id"] for turn in found[:4]] == ["c1", "c1", "c2", "c2"]
    assert all(turn.cut_from_bytes is not None for turn in found[:4]) == (len(unfit) > 1000)
    assert all(len(e.model_dump_json().encode()) < MAX_EVENT_BYTES for _, e in outbox.offered)


def test_an_item_that_can_not_be_told_leaves_a_hole_and_the_next_is_told() -> None:
    log, outbox = a_log()
    nonsense: Any = object()
    with capture_logs() as logs:
        log.message(a_message("one", "user"), caller=None, language=nonsense)
        log.message(a_message("two"), caller=None, language=None)
    assert [line["event"] for line in logs] == ["turn_not_published"]
    assert [(turn.text, turn.seq) for turn in turns(outbox)] == [("two", 2)]
    assert log.count == 2


@pytest.mark.parametrize("moment", [float("nan"), 1e30])
def test_a_time_that_no_calendar_has_costs_no_turn(moment: float) -> None:
    log, outbox = a_log()
    log.message(
        a_message(created_at=moment, metrics={"started_speaking_at": moment}), caller=None, language=None
    )
    [turn] = turns(outbox)
    assert turn.started_at is None


def test_a_long_id_is_cut_the_same_way_each_time() -> None:
    log, outbox = a_log()
    for _ in range(2):
        log.message(a_message("one", id="i" * 12_000), caller="c" * 12_000, language=None)
    [turn] = turns(outbox)
    assert len(turn.item_id) == 256
