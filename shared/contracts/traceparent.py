"""The position of a span in a trace, as W3C Trace Context writes it: `00-<trace>-<span>-<flags>`."""

from typing import Annotated, Final

from pydantic import BeforeValidator

# Its name wherever it is sent: as an HTTP header, a header of a task, and an attribute of an event.
TRACEPARENT: Final = "traceparent"

_HEX: Final = frozenset("0123456789abcdef")
_LENGTHS: Final = (2, 32, 16, 2)
_SAMPLED: Final = 1


def valid_traceparent(value: object) -> str | None:
    """Return `value` in the format of version 00; None if it can't be read."""
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
"""A field that becomes None if the value can't be read: a bad traceparent never causes a refusal."""


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a valid traceparent, in hexadecimal."""
    return traceparent[3:35]


def is_sampled(traceparent: str | None) -> bool:
    """Return whether the process that began the trace records it."""
    return traceparent is not None and traceparent.endswith("1")
