"""How stored turns become the chat context of the agent that takes over."""

from datetime import UTC, datetime, timedelta
from typing import Any

from livekit.agents import Agent
from livekit.agents.llm import ChatMessage, FunctionCall, FunctionCallOutput

from rollcall_agent.job.resume import as_context, awaits_reply
from rollcall_agent.job.turns import TurnLog
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import TurnFinished
from shared.contracts.sessions import Role
from shared.platform.clock import utc_now
from tests.unit.agent.agent_fakes import FACTS, ListedOutbox, an_order

AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_turn(item_id: str, text: str = "Hello", role: Role = Role.USER, **fields: Any) -> PastTurn:
    return PastTurn(item_id=item_id, role=role, text=text, **{"kind": "message", "created_at": AT, **fields})


def a_call(item_id: str, **extra: Any) -> PastTurn:
    return a_turn(item_id, "weather({})", Role.TOOL, kind="function_call", extra=extra)


def test_messages_keep_their_ids_their_order_and_that_they_were_interrupted() -> None:
    turns = [
        a_turn("item_1", "Hello, my name is Alice."),
        a_turn("item_2", "Nice to", Role.ASSISTANT, interrupted=True, created_at=AT + timedelta(seconds=1)),
    ]
    first, second = as_context(turns).items
    assert isinstance(first, ChatMessage)
    assert isinstance(second, ChatMessage)
    assert (first.id, first.role, first.text_content) == ("item_1", "user", "Hello, my name is Alice.")
    assert (second.id, second.role, second.interrupted) == ("item_2", "assistant", True)
    assert (first.created_at, second.created_at) == (AT.timestamp(), AT.timestamp() + 1)
    assert [item.id for item in Agent(instructions="", chat_ctx=as_context(turns)).chat_ctx.items] == [
        "item_1",
        "item_2",
    ]


def test_a_tool_call_and_its_answer_are_brought_back_whole() -> None:
    answer = {"call_id": "c1", "name": "weather", "output": "sunny", "is_error": True}
    turns = [
        a_call("item_1", call_id="c1", name="weather", arguments='{"city": "Graz"}'),
        a_turn("item_2", "sunny", Role.TOOL, kind="function_call_output", extra=answer),
    ]
    call, output = as_context(turns).items
    assert isinstance(call, FunctionCall)
    assert isinstance(output, FunctionCallOutput)
    assert (call.id, call.call_id, call.name, call.arguments) == (
        "item_1",
        "c1",
        "weather",
        '{"city": "Graz"}',
    )
    assert (output.id, output.call_id, output.output, output.is_error) == ("item_2", "c1", "sunny", True)


def test_what_cannot_be_brought_back_is_left_out_and_the_rest_stays() -> None:
    turns = [
        a_call("item_1", name="weather"),
        a_turn("item_2", "a -> b", Role.ASSISTANT, kind="agent_handoff"),
        a_turn("item_3", "42", Role.TOOL),
        a_turn("item_4"),
    ]
    assert [item.id for item in as_context(turns).items] == ["item_4"]


def test_what_is_said_next_comes_behind_turns_of_a_host_whose_clock_was_ahead() -> None:
    context = as_context([a_turn("item_1", created_at=utc_now() + timedelta(minutes=5))])
    context.insert(ChatMessage(role="user", content=["next"]))
    assert [item.id == "item_1" for item in context.items] == [True, False]


def test_a_reply_is_due_if_the_user_spoke_last() -> None:
    user, agent = a_turn("item_1"), a_turn("item_2", role=Role.ASSISTANT)
    assert awaits_reply([agent, user])
    assert awaits_reply([agent, user, a_call("item_3")])
    assert not awaits_reply([user, agent])
    assert not awaits_reply([a_call("item_3")])
    assert not awaits_reply([])


def test_turns_of_the_agent_before_are_not_published_again_and_new_ones_go_on_counting() -> None:
    outbox = ListedOutbox()
    log = TurnLog(order=an_order(attempt=2, first_seq=3), facts=FACTS, outbox=outbox)
    past = as_context([a_turn("item_1"), a_turn("item_2", role=Role.ASSISTANT)])
    log.take_over(item.id for item in past.items)
    for item in [*past.items, ChatMessage(role="user", content=["new"])]:
        assert isinstance(item, ChatMessage)
        log.message(item, caller=None, language=None)
    [turn] = outbox.events
    assert isinstance(turn, TurnFinished)
    assert (turn.seq, turn.text) == (3, "new")
    assert log.count == 1
