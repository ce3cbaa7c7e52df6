"""Somebody else's text where people read it: a terminal takes some characters for commands.

Callers, models, workers and servers write texts; what is shown of them goes through `one_line` or
`many_lines`, and JSON that may end on a terminal through `plain_json`.
"""

import json
import re
from typing import Any, Final

# Controls of both kinds (a terminal obeys U+009B as it does ESC [), and what else begins a new line.
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Turns the direction of what follows, or shows nothing. Joiners stay: Persian and emoji are spelt with them.
_UNSEEN: Final = (
    r"\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff"
)
_CONTROLS: Final = re.compile(f"[{_CONTROL}]")
_UNSEENS: Final = re.compile(f"[{_UNSEEN}]")
_ODD: Final = re.compile(f"[{_CONTROL}{_UNSEEN}]")
# JSON writes the first 32 as escapes itself, and its own line breaks are no part of a text.
_ODD_IN_JSON: Final = re.compile(rf"[\x7f-\x9f\u2028\u2029{_UNSEEN}]")


def one_line(text: str) -> str:
    """The text as one line: a blank for every control character, and nothing that can't be seen."""
    return _CONTROLS.sub(" ", _UNSEENS.sub("", text)) if _ODD.search(text) else text


def many_lines(text: str, *, keep: str = "\n\t") -> str:
    """The same, but lines stay lines, and tabs tabs."""
    if not _ODD.search(text):
        return text
    seen = _UNSEENS.sub("", text if "\r" in keep else text.replace("\r\n", "\n"))
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else " ", seen)


def plain_json(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON: every letter as it is, and as an escape what a terminal would obey."""
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(json_text: str) -> str:
    """The same JSON, with escapes for what a terminal would obey."""
    return _ODD_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], json_text)
