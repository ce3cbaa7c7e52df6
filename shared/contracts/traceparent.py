"""The place of a piece of work in a trace, as W3C Trace Context writes it: `00-<trace>-<span>-<flags>`."""

from typing import Annotated, Final

from pydantic import BeforeValidator

# Its name wherever it travels: HTTP's header, a task's, and the attribute of an event.
TRACEPARENT: Final = "traceparent"

_HEX: Final = frozenset("0123456789abcdef")
_LENGTHS: Final = (2, 32, 16, 2)
_SAMPLED: Final = 1


def valid_traceparent(value: object) -> str | None:
    """Return what `value` says in the words of version 00; None if it says nothing that can be read."""
    if not isinstance(value, str):
        return None
    parts = value.split("-")
    if tuple(map(len, parts[:4])) != _LENGTHS or not _HEX.issuperset("".join(parts[:4])):
        return None
    version, trace, span, flags = parts[:4]
    if version == "ff" or (version == "00" and len(parts) > 4) or not trace.strip("0") or not span.strip("0"):
        return None
    return f"00-{trace}-{span}-{int(flags, 16) & _SAMPLED:02x}"


Traceparent = Annotated[str | None, BeforeValidator(valid_traceparent)]
"""A field that is None where what came can't be read: a trace is never a reason to refuse anything."""


def trace_id_of(traceparent: str) -> str:
    """The trace of a valid traceparent, in hexadecimal."""
    return traceparent[3:35]


def is_sampled(traceparent: str | None) -> bool:
    """Whether the trace is recorded, by whoever began it."""
    return traceparent is not None and traceparent.endswith("1")
