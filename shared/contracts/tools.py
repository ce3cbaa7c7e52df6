"""The words of a tool's call and answer: they are in a turn once, as its text, and taken out of it here."""

import json
from collections.abc import Mapping
from typing import Any, Final

from shared.contracts.text import completed_json, marked

CALL: Final = "function_call"
OUTPUT: Final = "function_call_output"
# Where turns of earlier versions have the words a second time.
_WORDS: Final = {CALL: "arguments", OUTPUT: "output"}


def call_text(name: str, arguments: str) -> str:
    """The text of a call's turn."""
    return f"{name}({arguments})"


def said_once(kind: str, text: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The turn's `extra` without what its text says already."""
    word = _WORDS.get(kind)
    twice = word is not None and word in extra and extra[word] == _inside(kind, text, extra)
    return {name: value for name, value in extra.items() if not (twice and name == word)}


def spelled_out(
    kind: str, text: str, extra: Mapping[str, Any], *, cut_from_bytes: int | None
) -> dict[str, Any]:
    """The turn's `extra` with a call's `arguments` or an answer's `output`, as readers expect them.

    Arguments are JSON for who reads them, so those that were cut are completed to JSON again.
    """
    word = _WORDS.get(kind)
    if word is None or word in extra or not text:
        return dict(extra)
    if kind == OUTPUT:
        return {**extra, word: marked(text, cut_from_bytes)}
    found = _inside(kind, text, extra) if cut_from_bytes is None else _cut_arguments(text, extra)
    return dict(extra) if found is None else {**extra, word: found}


def begins_with(text: str, extra: Mapping[str, Any]) -> str:
    """What stands before the arguments in the text of a call; nothing if it can't be told."""
    head = f"{extra.get('name')}("
    return head if text.startswith(head) else ""


def _inside(kind: str, text: str, extra: Mapping[str, Any]) -> str | None:
    if kind == OUTPUT:
        return text
    head = begins_with(text, extra)
    return text[len(head) : -1] if head and text.endswith(")") else None


def _cut_arguments(text: str, extra: Mapping[str, Any]) -> str | None:
    head = begins_with(text, extra)
    if not head:
        return None
    try:
        return json.dumps(completed_json(text[len(head) :]), ensure_ascii=False)
    except ValueError:
        return "{}"
