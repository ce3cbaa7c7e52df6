"""Clean and bound text where it enters, so that every part of Rollcall can store it.

A Python string may hold half of a character (a lone surrogate), which neither UTF-8 nor JSON can carry, and
a NUL, which PostgreSQL can't store. Callers can type both, and models and tools return them.
"""

import json
from typing import Annotated, Any, Final, Self

import uuid_utils
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationInfo, model_validator

# The limit for one turn's text, in bytes of UTF-8. In JSON a byte may take six, and the event still fits.
MAX_TEXT_BYTES: Final = 128 * 1024
# The limit for one message that a caller types.
MAX_TYPED_BYTES: Final = 32 * 1024
# A worker's event is never longer, whatever a tool returns, and the consumer accepts events of this length.
MAX_EVENT_BYTES: Final = 1024 * 1024
# The limit for ids, identities and names: LiveKit's limit for an identity, and short enough for any index.
MAX_ID_BYTES: Final = 256
# The limit for an error's message or a reason.
MAX_BRIEF_BYTES: Final = 2048
# Appended to a text that was cut, wherever a person or a model reads it.
CUT_MARK: Final = " [cut]"

# How JSON writes what needs cleaning: a NUL, half of a character, and numbers that JSON does not allow.
_UNCLEAN: Final = ("\\u0000", "\\ud", "\\uD", "NaN", "Infinity")
_UNCLEAN_BYTES: Final = tuple(sign.encode() for sign in _UNCLEAN)
_INFINITE: Final = (float("inf"), float("-inf"))
_DIGEST: Final = 36
_ANY: Final = TypeAdapter(Any)


def clean(text: str) -> str:
    """Return the text without NUL.

    The two halves of a character become one character, and a lone half U+FFFD.
    """
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
    """Return the value with all text in it cleaned. Numbers that JSON does not have (NaN) become None."""
    if isinstance(value, str):
        return clean(value) if type(value) is str else value  # an enumeration's value is clean
    if isinstance(value, dict):
        return {cleaned(key): cleaned(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(part) for part in value]
    if isinstance(value, float) and (value != value or value in _INFINITE):  # noqa: PLR0124
        return None
    return value


def size_of(text: str) -> int:
    """Return the length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, max_bytes: int) -> str:
    """Return the beginning of the text: whole characters, and at most `max_bytes` bytes of UTF-8."""
    if size_of(text) <= max_bytes:
        return text
    return text.encode("utf-8", "surrogatepass")[:max_bytes].decode("utf-8", "ignore")


def marked(text: str, cut_from_bytes: int | None) -> str:
    """Return the text for display: with a mark at its end if it was cut."""
    return text if cut_from_bytes is None else text + CUT_MARK


def bounded_id(value: Any) -> Any:
    """Return an id that fits into an index.

    A longer id keeps its beginning and ends with a digest of the whole. The same id always gives the same
    result, and different ids stay different.
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
"""An id, identity or name of at most `MAX_ID_BYTES`; `bounded_id` shortens longer ones."""

Brief = Annotated[str, BeforeValidator(_brief)]
"""A line for people of at most `MAX_BRIEF_BYTES`; a longer one is cut."""


ALREADY_CLEAN: Final = {"text": "clean"}
"""The context for validating input that is already clean."""


class CleanModel(BaseModel):
    """Base of everything that crosses a process border. All text in it, at any depth, can be stored."""

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read the model's JSON from any writer; raises `pydantic.ValidationError`."""
        if is_surely_clean(text):
            return cls.model_validate_json(text, context=ALREADY_CLEAN)
        return cls.model_validate_json(well_formed(text))

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context is ALREADY_CLEAN or not isinstance(data, dict):
            return data
        return cleaned(data)


def is_surely_clean(written: str | bytes) -> bool:
    """Return whether no text in this JSON needs cleaning.

    JSON writes what does as an escape or as a special word.
    """
    if isinstance(written, str):
        return not any(sign in written for sign in _UNCLEAN)
    return not any(sign in written for sign in _UNCLEAN_BYTES)


def well_formed(text: str | bytes) -> str | bytes:
    """Return JSON that strict parsers accept too: an escaped lone surrogate becomes U+FFFD.

    Text that is not JSON is returned unchanged.
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
    """Return the value of JSON that was cut off, as far as it goes; raises `ValueError` if it is not JSON."""
    return cleaned(_ANY.validate_json(well_formed(text), experimental_allow_partial="trailing-strings"))
