"""The words of a tool's call and answer.

A turn has them once, as its text; these functions restore its `extra`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from shared.contracts.text import completed_json, marked

CALL: Final = "function_call"
OUTPUT: Final = "function_call_output"
# The field in which turns of earlier versions repeat the words.
_WORDS: Final = {CALL: "arguments", OUTPUT: "output"}


def call_text(name: str, arguments: str) -> str:
    """Return the text of a call's turn."""
    return f"{name}({arguments})"


def said_once(kind: str, text: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turn's `extra` without what its text already contains."""
    word = _WORDS.get(kind)
    twice = word is not None and word in extra and extra[word] == _inside(kind, text, extra)
    return {name: value for name, value in extra.items() if not (twice and name == word)}


def spelled_out(
    kind: str, text: str, extra: Mapping[str, Any], *, cut_from_bytes: int | None
) -> dict[str, Any]:
    """Return the turn's `extra` with the call's `arguments` or the answer's `output`, as clients expect it.

    Clients read arguments as JSON, so arguments that were cut are completed to valid JSON.
    """
    word = _WORDS.get(kind)
    if word is None or word in extra or not text:
        return dict(extra)
    if kind == OUTPUT:
        return {**extra, word: marked(text, cut_from_bytes)}
    found = _inside(kind, text, extra) if cut_from_bytes is None else _cut_arguments(text, extra)
    return dict(extra) if found is None else {**extra, word: found}


def begins_with(text: str, extra: Mapping[str, Any]) -> str:
    """Return the part of a call's text before the arguments.

    "" if the text does not begin with the call's name.
    """
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
