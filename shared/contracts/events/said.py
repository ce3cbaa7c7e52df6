"""What was said, on the turns stream, and what is being said, which is published live and kept nowhere."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from shared.contracts.events.base import Event
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import Role
from shared.contracts.text import MAX_TEXT_BYTES, Id, clean, cleaned, cut, size_of
from shared.contracts.tools import said_once


def _numbers(values: Any) -> Any:
    """Drop values that are not numbers, so that one unknown latency does not invalidate the turn."""
    if not isinstance(values, dict):
        return values
    return {name: value for name, value in values.items() if value is not None}


class Said(Event):
    """Base of events that carry text.

    Text is cut to `MAX_TEXT_BYTES`; `cut_from_bytes` then says how long it was.
    """

    text: str
    cut_from_bytes: int | None = Field(None, exclude_if=lambda size: size is None)

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, data: Any) -> Any:
        text = data.get("text") if isinstance(data, dict) else None
        if not isinstance(text, str):
            return data
        data = {**data, "text": (text := clean(text))}
        if isinstance(data.get("extra"), dict):
            data["extra"] = said_once(str(data.get("kind")), text, cleaned(data["extra"]))
        if (size := size_of(text)) > MAX_TEXT_BYTES:
            data |= {"text": cut(text, MAX_TEXT_BYTES), "cut_from_bytes": size}
        return data


class TurnFinished(Said):
    """One finished message of one speaker, or one tool call. Its identity is `item_id`, the SDK's id.

    `seq` numbers the turns of the session from 1. The times are when the turn began and ended, if the SDK
    knows. `metrics` are latencies in seconds, under the SDK's names. The words of a tool's call or answer are
    only in `text`. If `text` was cut, `cut_from_bytes` is its original length.
    """

    type: ClassVar[str] = "transcript.turn_finished.v1"
    session_id: SessionId
    attempt: int
    seq: int
    item_id: Id
    kind: Id = "message"
    role: Role
    interrupted: bool = False
    language: Id | None = None
    confidence: float | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    participant_identity: Id | None = None
    job_id: Id | None = None
    worker_id: Id | None = None
    metrics: Annotated[dict[str, float], BeforeValidator(_numbers)] = {}
    extra: dict[str, Any] = {}


class CaptionChanged(Said):
    """The words so far of something that is being said. The finished turn is another event.

    A caption replaces the previous one with the same `segment_id`; `final` closes the segment.
    """

    type: ClassVar[str] = "transcript.caption_changed.v1"
    session_id: SessionId
    attempt: int
    segment_id: Id
    role: Role
    final: bool = False
    language: Id | None = None
    participant_identity: Id | None = None
