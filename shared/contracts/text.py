"""Text as every part of Rollcall can hold it: cleaned and bounded once, where it enters.

A Python string may hold half of a character (a lone surrogate), which neither UTF-8 nor JSON can carry, and
a NUL, which PostgreSQL can't store. Callers can type both, and models and tools return them.
"""

import json
from typing import Annotated, Any, Final

import uuid_utils
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationInfo, model_validator

# What is kept of one turn's text, in bytes of UTF-8. In JSON a byte may take six, and the event still fits.
MAX_TEXT_BYTES: Final = 128 * 1024
# What is kept of one message that a caller types.
MAX_TYPED_BYTES: Final = 32 * 1024
# An event that a worker makes is never longer, whatever a tool returns, and the consumer takes as much.
MAX_EVENT_BYTES: Final = 1024 * 1024
# Ids, identities and names: as many as LiveKit allows for an identity, and few enough for any index.
MAX_ID_BYTES: Final = 256
# An error's message, a reason.
MAX_BRIEF_BYTES: Final = 2048
# Put at the end of a text that was cut, wherever it is shown or read on.
CUT_MARK: Final = " [cut]"

# In JSON: a NUL, half of a character, and numbers that are none.
_UNCLEAN: Final = ("\\u0000", "\\ud", "\\uD", "NaN", "Infinity")
_UNCLEAN_BYTES: Final = tuple(sign.encode() for sign in _UNCLEAN)
_INFINITE: Final = (float("inf"), float("-inf"))
_DIGEST: Final = 36
_ANY: Final = TypeAdapter(Any)


def clean(text: str) -> str:
    """Return the text without NUL; the two halves of a character become one, a lone half U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii() or not _has_halves(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _has_halves(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def cleaned(value: Any) -> Any:
    """Return the value with every text within it cleaned; numbers that JSON hasn't (NaN) become None."""
    if isinstance(value, str):
        return clean(value) if type(value) is str else value  # an enumeration's is clean
    if isinstance(value, dict):
        return {cleaned(key): cleaned(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(part) for part in value]
    if isinstance(value, float) and (value != value or value in _INFINITE):  # noqa: PLR0124
        return None
    return value


def size_of(text: str) -> int:
    """Its length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, max_bytes: int) -> str:
    """Return the beginning of the text, at most so many bytes of UTF-8, in whole characters."""
    if size_of(text) <= max_bytes:
        return text
    return text.encode("utf-8", "surrogatepass")[:max_bytes].decode("utf-8", "ignore")


def marked(text: str, cut_from_bytes: int | None) -> str:
    """The text as it is shown: with a mark if it was cut."""
    return text if cut_from_bytes is None else text + CUT_MARK


def bounded_id(value: Any) -> Any:
    """Return an id that fits into an index.

    A longer one keeps its beginning and gets a digest of the whole, so that it stays the same each time,
    and different ones stay different.
    """
    if not isinstance(value, str) or size_of(value) <= MAX_ID_BYTES:
        return value
    whole = clean(value)
    digest = uuid_utils.uuid5(uuid_utils.NAMESPACE_OID, whole)
    return f"{cut(whole, MAX_ID_BYTES - _DIGEST - 1)}~{digest}"


def _brief(value: Any) -> Any:
    if not isinstance(value, str) or size_of(value) <= MAX_BRIEF_BYTES:
        return value
    return cut(value, MAX_BRIEF_BYTES - len(CUT_MARK)) + CUT_MARK


Id = Annotated[str, BeforeValidator(bounded_id)]
"""An id, an identity or a name, of at most `MAX_ID_BYTES`."""

Brief = Annotated[str, BeforeValidator(_brief)]
"""A line for people, of at most `MAX_BRIEF_BYTES`."""


ALREADY_CLEAN: Final = {"text": "clean"}
"""The context of a validation whose input has been through this before, or can't need it."""


class CleanModel(BaseModel):
    """Base of what crosses a process border: no text in it, however deep, is one that can't be stored."""

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context is ALREADY_CLEAN or not isinstance(data, dict):
            return data
        return cleaned(data)


def is_surely_clean(written: str | bytes) -> bool:
    """Can no text in this JSON need cleaning? In JSON, what does is an escape or a word of its own."""
    if isinstance(written, str):
        return not any(sign in written for sign in _UNCLEAN)
    return not any(sign in written for sign in _UNCLEAN_BYTES)


def well_formed(text: str | bytes) -> str | bytes:
    """Return JSON that strict parsers take too: with U+FFFD where a lone surrogate is escaped.

    What is no JSON is returned as it is.
    """
    written = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if "\\ud" not in written and "\\uD" not in written:
        return text
    try:
        mended = json.dumps(cleaned(json.loads(written)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
    return mended


def completed_json(text: str) -> Any:
    """What JSON that was cut off says up to there; raises `ValueError` if it is no JSON."""
    return cleaned(_ANY.validate_json(well_formed(text), experimental_allow_partial="trailing-strings"))
