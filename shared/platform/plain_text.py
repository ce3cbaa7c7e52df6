"""Make text of others safe to show: a terminal obeys some characters as commands.

Callers, models, workers and servers write texts. Any such text goes through `one_line` or `many_lines` before
a person sees it, and JSON that may end up on a terminal through `plain_json`.
"""

import json
import re
from typing import Any, Final

# Both kinds of control characters (a terminal obeys U+009B like ESC [), and other characters that begin a
# line.
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Characters that change the direction of text, or are invisible. Joiners stay: Persian and emoji need them.
_UNSEEN: Final = (
    r"\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff"
)
_CONTROLS: Final = re.compile(f"[{_CONTROL}]")
_UNSEENS: Final = re.compile(f"[{_UNSEEN}]")
_ODD: Final = re.compile(f"[{_CONTROL}{_UNSEEN}]")
# JSON itself escapes the first 32, and JSON's own line breaks are not part of a text.
_ODD_IN_JSON: Final = re.compile(rf"[\x7f-\x9f\u2028\u2029{_UNSEEN}]")


def one_line(text: str) -> str:
    """Return the text as one line, with a space for every control character, and no invisible characters."""
    return _CONTROLS.sub(" ", _UNSEENS.sub("", text)) if _ODD.search(text) else text


def many_lines(text: str, *, keep: str = "\n\t") -> str:
    """Like `one_line`, but keep line breaks and tabs."""
    if not _ODD.search(text):
        return text
    seen = _UNSEENS.sub("", text if "\r" in keep else text.replace("\r\n", "\n"))
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else " ", seen)


def plain_json(value: Any, *, indent: int | None = None) -> str:
    """Return the value as JSON, with escapes only for characters that a terminal would obey."""
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(json_text: str) -> str:
    """Return the same JSON, with escapes for characters that a terminal would obey."""
    return _ODD_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], json_text)
