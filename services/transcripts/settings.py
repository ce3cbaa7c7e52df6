"""The settings of the transcript consumer."""

from pydantic import Field

from shared.contracts.settings import (
    DatabaseSettings,
    ProcessSettings,
    RedisSettings,
    RetentionSettings,
    StoredTextSettings,
)
from shared.contracts.text import MAX_EVENT_BYTES


class TranscriptsSettings(
    RedisSettings, DatabaseSettings, StoredTextSettings, RetentionSettings, ProcessSettings
):
    """Settings of the transcript consumer."""

    turn_max_bytes: int = Field(
        MAX_EVENT_BYTES,
        ge=1024,
        description="a turn with a larger event becomes a dead letter; workers send none over 1 MiB",
    )
    transcripts_batch_turns: int = Field(
        1000, ge=1, le=10_000, description="the largest number of turns in a transaction"
    )
