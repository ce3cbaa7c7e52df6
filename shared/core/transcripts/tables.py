"""The tables of transcripts: the finished turns, and who was erased."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Text
from sqlmodel import Field, SQLModel

from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.search_words import search_words_column
from shared.platform.database.columns import UtcDateTime, json_type


class TranscriptItemRow(SQLModel, table=True):
    """One finished turn. Its identity is the SDK's item id; `seq` is the order of publication.

    If `text` was cut, `cut_from_bytes` is its original length. The table also has the column
    `transcript_search_words`.
    """

    __tablename__ = "transcript_item"
    __table_args__ = (Index("ix_transcript_item_order", "session_id", "seq"),)

    session_id: str = Field(sa_column=Column(ForeignKey(f"{SessionRow.__tablename__}.id"), primary_key=True))
    item_id: str = Field(primary_key=True)
    seq: int
    attempt: int
    kind: str
    role: str
    text: str = Field(sa_type=Text)
    cut_from_bytes: int | None = None
    interrupted: bool = False
    language: str | None = None
    confidence: float | None = None
    participant_identity: str | None = None
    job_id: str | None = None
    worker_id: str | None = None
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(json_type(), nullable=False))
    extra: dict[str, Any] = Field(default_factory=dict, sa_column=Column(json_type(), nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    stored_at: datetime = Field(sa_type=UtcDateTime)


_TURNS: Any = TranscriptItemRow.__table__  # type: ignore[attr-defined]
_TURNS.append_column(search_words_column())


class ErasureMarkRow(SQLModel, table=True):
    """An erased participant. The erasure also covers later turns of sessions until `made_at`.

    `person` is a hash of the participant's identity; see `shared.core.transcripts.erasure_rows`.
    """

    __tablename__ = "erasure_mark"

    project: str = Field(primary_key=True)
    person: str = Field(primary_key=True)
    made_at: datetime = Field(sa_type=UtcDateTime, index=True)
