"""The export formats of a conversation, and which one a request wants.

Each format is a function that turns a stream of turns into a stream of text, so that a conversation of any
length needs little memory.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.api.http.accept import preferred
from services.api.transcripts.export.for_people import to_csv, to_text, to_vtt
from services.api.transcripts.export.for_programs import to_jsonl, to_openai, to_vcon
from services.api.transcripts.schemas import Turn
from shared.core.sessions.tables import SessionRow

Writer = Callable[[SessionRow, AsyncIterator[Turn]], AsyncIterator[str]]

JSON: Final = "application/json"


class Format(StrEnum):
    """The formats, by the values of `?format=`."""

    JSON = "json"
    JSONL = "jsonl"
    TXT = "txt"
    VTT = "vtt"
    CSV = "csv"
    OPENAI = "openai"
    VCON = "vcon"


@dataclass(frozen=True)
class Export:
    """How to write a format, with its media type and file extension."""

    write: Writer
    media_type: str
    suffix: str


EXPORTS: Final = {
    Format.JSONL: Export(to_jsonl, "application/jsonl", "jsonl"),
    Format.TXT: Export(to_text, "text/plain; charset=utf-8", "txt"),
    Format.VTT: Export(to_vtt, "text/vtt; charset=utf-8", "vtt"),
    Format.CSV: Export(to_csv, "text/csv; charset=utf-8; header=present", "csv"),
    Format.OPENAI: Export(to_openai, JSON, "openai.json"),
    Format.VCON: Export(to_vcon, "application/vcon+json", "vcon"),
}

# The media types for an Accept header. OpenAI's messages have none of their own.
_BY_MEDIA_TYPE: Final = {
    JSON: Format.JSON,
    "application/jsonl": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "text/plain": Format.TXT,
    "text/vtt": Format.VTT,
    "text/csv": Format.CSV,
    "application/vcon+json": Format.VCON,
}
MEDIA_TYPES: Final = tuple(_BY_MEDIA_TYPE)


def wanted_format(asked: Format | None, accept: str) -> Format:
    """Return the requested format: by its name, else the first that the Accept header prefers, else JSON."""
    if asked is not None:
        return asked
    for media_type in preferred(accept):
        if media_type in ("*/*", "application/*"):
            return Format.JSON
        if media_type == "text/*":
            return Format.TXT
        if media_type in _BY_MEDIA_TYPE:
            return _BY_MEDIA_TYPE[media_type]
    return Format.JSON


def file_name(session: SessionRow, suffix: str) -> str:
    """Return the file name for browsers. A session id has no character that needs quoting."""
    return f"transcript-{session.id}.{suffix}"
