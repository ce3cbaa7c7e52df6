"""What the transcript consumer reads from the environment."""

from shared.contracts.settings import DatabaseSettings, LogSettings, ProbeSettings, RedisSettings


class TranscriptsSettings(RedisSettings, DatabaseSettings, LogSettings, ProbeSettings):
    """Settings of the transcript consumer."""
