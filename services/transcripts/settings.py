"""What the transcript consumer reads from the environment."""

from pydantic import Field

from shared.contracts.settings import (
    DatabaseSettings,
    ProcessSettings,
    RedisSettings,
    StoredTextSettings,
)


class TranscriptsSettings(RedisSettings, DatabaseSettings, StoredTextSettings, ProcessSettings):
    """Settings of the transcript consumer."""

    turn_max_bytes: int = Field(
        1024 * 1024, ge=1024, description="a turn whose event is larger goes to the dead letters"
    )
    transcripts_batch_turns: int = Field(
        1000, ge=1, le=10_000, description="at most so many in a transaction"
    )
