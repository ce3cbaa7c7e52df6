"""The JSON of the transcript routes."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.api.transcripts.read.latency import Latencies, Summary
from shared.contracts.names import Sought
from shared.contracts.sessions import SessionStatus
from shared.contracts.text import marked
from shared.contracts.tools import spelled_out
from shared.core.transcripts.tables import TranscriptItemRow


class TranscriptState(StrEnum):
    """Whether more turns may come, and whether the number of turns is known."""

    RUNNING = "running"  # the call is running, or ended a moment ago
    CLOSED = "closed"  # the call is over, and every agent's number of turns is known
    UNCLOSED = "unclosed"  # the call is over, and the number of an agent that died is not known


class TranscriptItem(BaseModel):
    """One finished turn."""

    seq: int
    id: str
    kind: str
    role: str
    text: str
    cut_from_bytes: int | None = Field(
        None,
        description="size of the whole text in bytes of UTF-8, if this is only its beginning",
    )
    interrupted: bool
    language: str | None
    confidence: float | None
    participant_identity: str | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    metrics: dict[str, Any]
    extra: dict[str, Any]

    @classmethod
    def of(cls, row: TranscriptItemRow) -> "TranscriptItem":
        """Return the item of a database row."""
        fields = row.model_dump(include=set(cls.model_fields) - {"id", "extra"})
        extra = spelled_out(row.kind, row.text, row.extra, cut_from_bytes=row.cut_from_bytes)
        return cls(id=row.item_id, extra=extra, **fields)


class Turn(TranscriptItem):
    """One finished turn. `offset_s` counts from the start of the call, in seconds."""

    offset_s: float
    duration_s: float | None
    latencies: Latencies

    @property
    def shown(self) -> str:
        """The text for people and models: with a mark if it was cut."""
        return marked(self.text, self.cut_from_bytes)

    @classmethod
    def at(cls, row: TranscriptItemRow, since_start: timedelta) -> "Turn":
        """Return the turn of a database row, with its offset from the beginning of the call."""
        spoken = (row.ended_at - row.started_at) if row.ended_at and row.started_at else None
        return cls(
            **TranscriptItem.of(row).model_dump(),
            offset_s=max(0.0, round(since_start.total_seconds(), 3)),
            duration_s=None if spoken is None else max(0.0, round(spoken.total_seconds(), 3)),
            latencies=Latencies.of(row.metrics),
        )


class Transcript(BaseModel):
    """The conversation so far, and whether all of it is here.

    `complete` is true if each agent's number of turns is known and all are here. It is false if turns are
    missing. It is null if that is unknown: while the call runs and has no gap, after a crash that left
    neither a count nor a gap, if no agent came, and if the turns were deleted. A late turn can make a
    transcript complete again.
    """

    session_id: str
    status: SessionStatus
    state: TranscriptState
    complete: bool | None
    missing: list[int] = Field(description="sequence numbers; the first thousand")
    missing_count: int
    missing_since: datetime | None = Field(description="since when the gap has been known")
    erased_at: datetime | None = Field(description="when the text was erased")
    items: list[Turn]
    next_after_seq: int | None = Field(description="`after_seq` of the next page; null on the last")
    summary: Summary | None = Field(description="of the whole conversation; on the first page only")


class Messages(BaseModel):
    """The conversation with `?format=openai`: messages for OpenAI's chat interface."""

    messages: list[dict[str, Any]]


class SnippetPart(BaseModel):
    """A piece of plain text; `hit` says whether the query matched it. It contains no markup."""

    text: str
    hit: bool


class SearchHit(BaseModel):
    """A turn that matches. A higher `rank` is a better match; ranks compare only within one answer."""

    session_id: str
    agent_name: str
    seq: int
    id: str
    kind: str
    role: str
    language: str | None
    participant_identity: str | None
    created_at: datetime
    rank: float
    snippet: list[SnippetPart]


class SearchPage(BaseModel):
    """Matching turns; `next_cursor` is null on the last page."""

    results: list[SearchHit]
    next_cursor: str | None


class ErasureRequest(BaseModel):
    """The participant whose transcripts to erase."""

    model_config = ConfigDict(extra="forbid")

    participant_identity: Sought = Field(min_length=1)


class Erasure(BaseModel):
    """What was removed. The places in `pending` could not be reached; they are erased as soon as possible."""

    session_ids: list[str]
    turns: int = Field(description="turns whose text was in the database")
    stream_entries: int = Field(description="turns on their way to the database")
    dead_letters: int
    pending: list[str]
