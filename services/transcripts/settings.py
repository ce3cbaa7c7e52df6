"""What the transcript consumer reads from the environment."""

from typing import Literal

from pydantic import Field

from shared.contracts.settings import DatabaseSettings, LogSettings, ProbeSettings, RedisSettings


class TranscriptsSettings(RedisSettings, DatabaseSettings, LogSettings, ProbeSettings):
    """Settings of the transcript consumer."""

    transcript_store: Literal["full", "metadata"] = Field(
        "full", description="metadata: who spoke, when and for how long, and nothing of what was said"
    )
    transcript_redactor: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:function from text to text, called before a turn is stored",
    )
    turn_max_bytes: int = Field(
        1024 * 1024, ge=1024, description="a turn whose event is larger goes to the dead letters"
    )
    transcripts_batch_turns: int = Field(
        1000, ge=1, le=10_000, description="at most so many in a transaction"
    )
