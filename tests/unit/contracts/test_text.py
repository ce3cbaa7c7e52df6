"""Text is cleaned and bounded where it enters, in every event and however deep."""

import json
from typing import Any

import pytest

from shared.contracts.dispatching import PastTurn
from shared.contracts.events import (
    AgentError,
    AgentReported,
    CaptionChanged,
    Envelope,
    Step,
    TurnFinished,
    wrap,
)
from shared.contracts.sessions import Role
from shared.contracts.text import (
    CUT_MARK,
    MAX_BRIEF_BYTES,
    MAX_EVENT_BYTES,
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    bounded_id,
    clean,
    cleaned,
    cut,
    size_of,
)
from shared.contracts.tools import spelled_out
from tests.integration.rows import a_turn
from tests.unit.agent.agent_fakes import SESSION
from tests.unit.making import T0

HALF = "\ud83d"
UNFIT = [HALF, "\ude00", "\x00", f"a{HALF}b\x00c", f"{HALF}{HALF}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Grüße 🙂", "Grüße 🙂"),
        ("a\x00b", "ab"),
        (f"a{HALF}b", "a\ufffdb"),
        (f"{HALF}\ude00", "😀"),  # two pieces of a stream, put together
        (f"{HALF}\x00\ude00", "😀"),
        ("\x1b[31m\t\n", "\x1b[31m\t\n"),  # the program that shows these has to make them harmless
    ],
)
def test_what_no_database_or_encoding_takes_is_replaced_and_nothing_else(text: str, expected: str) -> None:
    assert clean(text) == expected
    assert clean(clean(text)) == expected


@pytest.mark.parametrize("unfit", UNFIT)
def test_no_event_holds_what_can_not_be_stored(unfit: str) -> None:
    turn = a_turn(SESSION, text=unfit, item_id=unfit, language=unfit, extra={unfit: [{"deep": unfit}]})
    error = AgentError(type=unfit, message=unfit, descriptor=unfit)
    report = AgentReported(
        session_id=SESSION,
        attempt=1,
        step=Step.ERROR,
        room_name=unfit,
        worker_id=unfit,
        agent_name=unfit,
        job_id=unfit,
        reason=unfit,
        error=error,
    )
    caption = CaptionChanged(session_id=SESSION, attempt=1, segment_id=unfit, role=Role.USER, text=unfit)
    for event in (turn, report, caption):
        envelope = wrap(event, session_id=SESSION, source="tests", time=T0)
        written = envelope.model_dump_json()
        assert "\\u0000" not in written
        assert Envelope.parse(written).event() == event


@pytest.mark.parametrize("unfit", [HALF, "\x00"])
def test_what_another_program_has_written_is_read_and_cleaned(unfit: str) -> None:
    written = wrap(a_turn(SESSION), session_id=SESSION, source="tests", time=T0).model_dump(mode="json")
    written["data"]["text"] = f"a{unfit}b"
    written["data"]["extra"] = {"k": {unfit: unfit}}
    read = Envelope.parse(json.dumps(written)).event()
    assert isinstance(read, TurnFinished)
    assert read.text == clean(f"a{unfit}b")
    assert read.extra == {"k": {clean(unfit): clean(unfit)}}


@pytest.mark.parametrize("character", ["a", "\x01", '"', "ü", "€", "🙂", HALF])
def test_an_event_fits_whatever_is_said(character: str) -> None:
    huge = character * 600_000
    names = ("item_id", "kind", "language", "participant_identity", "job_id", "worker_id")
    ids: dict[str, Any] = dict.fromkeys(names, character * 10 * MAX_ID_BYTES)
    turn = a_turn(SESSION, text=huge, **ids)
    assert size_of(turn.text) <= MAX_TEXT_BYTES
    assert turn.cut_from_bytes == size_of(clean(huge))
    assert clean(huge).startswith(turn.text)
    assert all(size_of(getattr(turn, name)) <= MAX_ID_BYTES for name in ids)
    envelope = wrap(turn, session_id=SESSION, source="tests", time=T0)
    assert len(envelope.model_dump_json().encode()) < MAX_EVENT_BYTES
    again = Envelope.parse(envelope.model_dump_json()).event()
    assert again == turn


def test_a_short_text_is_not_said_to_be_cut() -> None:
    turn = a_turn(SESSION, text="x" * MAX_TEXT_BYTES)
    assert turn.cut_from_bytes is None
    assert "cut_from_bytes" not in turn.model_dump()


def test_a_cut_is_at_the_border_of_a_character() -> None:
    assert cut("aüb", 2) == "a"
    assert cut("🙂🙂", 7) == "🙂"


def test_a_long_id_stays_the_same_and_differs_from_others() -> None:
    one, other = bounded_id("x" * 12_000), bounded_id("x" * 12_001)
    assert one == bounded_id("x" * 12_000) == bounded_id(one)
    assert one != other
    assert size_of(one) == MAX_ID_BYTES
    assert bounded_id("item_1") == "item_1"


def test_an_errors_message_is_bounded() -> None:
    message = AgentError(type="E", message="ü" * 5_000).message
    assert size_of(message) <= MAX_BRIEF_BYTES
    assert message.endswith(CUT_MARK)


def test_numbers_that_json_has_not_cost_no_turn() -> None:
    turn = a_turn(SESSION, confidence=float("nan"), metrics={"a": float("inf"), "b": 1.0})
    assert (turn.confidence, turn.metrics) == (None, {"b": 1.0})
    assert cleaned({"a": [float("nan")]}) == {"a": [None]}


def test_words_that_an_older_worker_says_twice_are_kept_once() -> None:
    call = a_turn(
        SESSION, kind="function_call", text='f({"a": 1})', extra={"name": "f", "arguments": '{"a": 1}'}
    )
    answer = a_turn(SESSION, kind="function_call_output", text="x" * 200_000, extra={"output": "x" * 200_000})
    assert (call.extra, answer.extra) == ({"name": "f"}, {})


@pytest.mark.parametrize(
    ("kind", "text", "extra", "cut_from", "expected"),
    [
        ("function_call", 'f({"a": 1})', {"name": "f"}, None, {"arguments": '{"a": 1}'}),
        ("function_call", "f(", {"name": "f"}, 9, {"arguments": "{}"}),
        ("function_call", 'f({"a": "12', {"name": "f"}, 99, {"arguments": '{"a": "12"}'}),
        (
            "function_call",
            'f({"a": [true, fal',
            {"name": "f"},
            99,
            {"arguments": '{"a": [true]}'},
        ),
        ("function_call", "", {"name": "f"}, None, {}),  # erased
        ("function_call_output", "sunny", {}, None, {"output": "sunny"}),
        ("function_call_output", "sun", {}, 9, {"output": f"sun{CUT_MARK}"}),
        ("function_call_output", "new", {"output": "old"}, None, {"output": "old"}),
        ("message", "hello", {}, None, {}),
    ],
)
def test_words_of_tools_are_found_again(
    kind: str, text: str, extra: dict[str, Any], cut_from: int | None, expected: dict[str, Any]
) -> None:
    assert spelled_out(kind, text, extra, cut_from_bytes=cut_from) == {**extra, **expected}


def test_a_turn_that_is_handed_over_is_clean_too() -> None:
    past = PastTurn(item_id="i", kind="message", role=Role.USER, text=f"a{HALF}\x00", created_at=T0)
    assert past.text == "a\ufffd"
