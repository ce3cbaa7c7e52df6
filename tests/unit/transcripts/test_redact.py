"""How much of a turn is stored: everything, what a redactor leaves, or only who spoke and when."""

import json
import re
from typing import Any

import pytest

from services.transcripts.redact import (
    NOT_REDACTED,
    RedactorMissing,
    load_redactor,
    prepare_text,
    redact,
)
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.text import MAX_TEXT_BYTES
from tests.integration.rows import a_turn

RAW = "my number is 4711"


def digits(text: str) -> str:
    """The redactor that the tests name in their settings."""
    return re.sub(r"\d", "#", text)


def settings(**changes: Any) -> TranscriptsSettings:
    return TranscriptsSettings(**changes)


def test_everything_is_stored_unless_asked_otherwise() -> None:
    turn = a_turn("s", text=RAW, extra={"arguments": RAW})
    assert prepare_text(turn, settings()) is turn


def test_metadata_only_leaves_no_word() -> None:
    turn = a_turn("s", text=RAW, extra={"arguments": RAW, "name": "f"}, metrics={"e2e_latency": 1.0})
    stored = prepare_text(turn, settings(transcript_store="metadata"))
    assert "4711" not in stored.model_dump_json()
    assert (stored.extra, stored.metrics, stored.seq) == ({"name": "f"}, {"e2e_latency": 1.0}, turn.seq)


def test_a_redactor_sees_the_text_before_it_is_stored() -> None:
    turn = a_turn("s", text=RAW)
    stored = prepare_text(turn, settings(transcript_redactor=f"{__name__}:digits"))
    assert stored.text == "my number is ####"


def test_a_redactor_sees_every_text_inside_a_tool_call_and_json_stays_json() -> None:
    arguments = json.dumps({"to": "+49 4711", "times": 3, "number": 4711, "ok": True, "list": ["0", None]})
    turn = a_turn("s", text="f", extra={"arguments": arguments, "deep": {"a": ["4711"]}, "name": "f"})
    stored = redact(turn, digits)
    assert json.loads(stored.extra["arguments"]) == {
        "to": "+## ####",
        "times": "#",
        "number": "####",
        "ok": True,
        "list": ["#", None],
    }
    assert stored.extra["deep"] == {"a": ["####"]}
    assert stored.extra["name"] == "f"


def test_what_looks_like_json_and_is_not_is_redacted_as_text() -> None:
    assert redact(a_turn("s", extra={"output": "{4711"}), digits).extra == {"output": "{####"}


@pytest.mark.parametrize("fault", [ValueError(RAW), RecursionError(), KeyError(RAW)])
def test_a_redactor_that_fails_lets_nothing_through(
    fault: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(text: str) -> str:
        raise fault

    stored = redact(a_turn("s", text=RAW, extra={"arguments": RAW, "name": "f"}), failing)
    assert stored.text == NOT_REDACTED
    assert stored.extra == {"name": "f"}
    out, err = capfd.readouterr()
    assert "4711" not in out + err


def test_a_redactor_that_fails_on_one_text_only_lets_nothing_through_either() -> None:
    def picky(text: str) -> str:
        if "4711" in text:
            raise ValueError
        return text

    stored = redact(a_turn("s", text="harmless", extra={"output": RAW}), picky)
    assert (stored.text, stored.extra) == (NOT_REDACTED, {})


@pytest.mark.parametrize("nothing", [None, 3, b"bytes"])
def test_a_redactor_that_returns_no_text_has_failed(nothing: Any) -> None:
    assert redact(a_turn("s", text=RAW), lambda _: nothing).text == NOT_REDACTED


@pytest.mark.parametrize("name", ["nowhere.at.all:f", f"{__name__}:nobody", f"{__name__}:RAW", "json"])
def test_a_redactor_that_is_not_there_is_found_out(name: str) -> None:
    with pytest.raises(RedactorMissing):
        load_redactor(name)


@pytest.mark.parametrize("name", ["json", "json:", ":loads", "a b:c", "json:loads()"])
def test_a_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ValueError, match="transcript_redactor"):
        settings(transcript_redactor=name)


def test_half_of_a_secret_at_the_end_of_a_cut_turn_is_not_stored() -> None:
    def whole(text: str) -> str:
        return text.replace("4111111111111111", "####")

    said = "4111111111111111 " + "x" * (MAX_TEXT_BYTES - 27) + " 4111111111111111" + "y" * 1000
    turn = a_turn("s", text=said)
    assert turn.text.endswith(" 411111111")
    stored = redact(turn, whole)
    assert stored.text.startswith("####")
    assert "411111" not in stored.text
    assert stored.cut_from_bytes == len(said)


def test_the_escaped_words_of_a_tool_are_redacted_though_they_were_cut() -> None:
    page = json.dumps({"name": "Müller", "page": "x" * 2 * MAX_TEXT_BYTES})
    for kind, text, extra in (
        ("function_call_output", page, {}),
        ("function_call", f"f({page})", {"name": "f"}),
        ("function_call", 'f({"name": "M\\u00fcller"})', {"name": "f"}),
    ):
        turn = a_turn("s", kind=kind, text=text, extra=extra)
        assert "M\\u00fcller" in turn.text
        stored = redact(turn, lambda said: said.replace("Müller", "####")).text
        assert "####" in stored
        assert "ller" not in stored


def test_a_redactor_may_return_what_can_not_be_stored() -> None:
    assert redact(a_turn("s", text=RAW), lambda _: "a\x00\ud83d").text == "a\ufffd"
