"""The JSON of dead letters."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.keys import ENVELOPE_FIELD
from shared.platform.redis.dead_letters import STREAMS, Letter, Outcome


class Origin(StrEnum):
    """A stream to which dead letters go back."""

    TURNS = "turns"  # finished turns, on their way to the database
    REPORTS = "reports"  # what agents say about their jobs

    @property
    def stream(self) -> str:
        """Its name at Redis."""
        return STREAMS[self]


class DeadLetter(BaseModel):
    """A stream entry that could not be handled, without its content."""

    id: str
    stream: str = Field(description="the Redis stream on which it was, such as rollcall:turns")
    reason: str = Field(description="a code, such as malformed or unknown_session")
    detail: str = Field(description="more about the reason; empty where nothing more is known")
    set_aside_at: datetime
    session_ids: list[str] = Field(description="the sessions that it names")
    can_go_back: bool = Field(description="false: its content is gone, or nothing reads its stream")

    @classmethod
    def of(cls, letter: Letter) -> "DeadLetter":
        """Return the model of a letter."""
        return cls(
            id=letter.id,
            stream=letter.stream,
            reason=letter.reason,
            detail=letter.detail,
            set_aside_at=letter.set_aside_at,
            session_ids=sorted(letter.sessions),
            can_go_back=letter.can_go_back,
        )


class DeadLetterContent(DeadLetter):
    """A dead letter with the entry as it was on its stream."""

    event: str | None = Field(description="the entry's CloudEvents envelope as text; it may be malformed")

    @classmethod
    def of(cls, letter: Letter) -> "DeadLetterContent":
        """Return the model of a letter."""
        bare = DeadLetter.of(letter).model_dump()
        return cls(event=letter.content.get(ENVELOPE_FIELD), **bare)


class DeadLetterPage(BaseModel):
    """Dead letters, newest first; `next_cursor` is null on the last page, and a page may be short."""

    dead_letters: list[DeadLetter]
    next_cursor: str | None


class DeadLettersToReplay(BaseModel):
    """Which dead letters to put back; those that are absent mean all."""

    model_config = ConfigDict(extra="forbid")

    stream: Origin | None = None
    reason: str | None = Field(None, max_length=256)
    limit: int | None = Field(None, ge=1, le=1_000_000, description="at most this many, the oldest first")
    dry_run: bool = Field(False, description="only count them")


class DeadLettersOfKind(BaseModel):
    """Letters of one stream and reason."""

    stream: str
    reason: str
    found: int
    put_back: int


class ReplayedDeadLetters(BaseModel):
    """How many dead letters there were, by stream and reason, and how many were put back."""

    dead_letters: list[DeadLettersOfKind]
    put_back: int

    @classmethod
    def of(cls, outcome: Outcome) -> "ReplayedDeadLetters":
        """Return the model of a replay's outcome."""
        kinds = [
            DeadLettersOfKind(
                stream=stream, reason=reason, found=found, put_back=outcome.replayed[stream, reason]
            )
            for (stream, reason), found in sorted(outcome.lying.items())
        ]
        return cls(dead_letters=kinds, put_back=outcome.replayed.total())
