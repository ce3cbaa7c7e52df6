"""What the webhooks process reads from the environment."""

from pydantic import Field

from shared.contracts.settings import (
    DatabaseSettings,
    LogSettings,
    ProbeSettings,
    RedisSettings,
    WebhookSettings,
)


class WebhooksSettings(RedisSettings, DatabaseSettings, WebhookSettings, LogSettings, ProbeSettings):
    """Settings of the webhooks process."""

    webhook_timeout_s: float = Field(
        15.0, gt=0, le=60, description="until an endpoint has to have answered, its name resolved and all"
    )
    webhook_endpoint_concurrency: int = Field(
        8, ge=1, le=100, description="requests at the same time to one endpoint, from one process"
    )
    webhook_concurrency: int = Field(
        200, ge=1, le=10_000, description="requests at the same time, from one process; half of one project"
    )
    webhook_disable_after_days: float = Field(
        5.0, ge=0, description="an endpoint is disabled when every attempt has failed for so long; 0: never"
    )
    webhook_retention_days: float = Field(
        30.0, gt=0, le=3650, description="what became of a delivery is kept for so long"
    )
