"""The settings of the webhooks process."""

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
        15.0,
        gt=0,
        le=60,
        description="the time limit for a whole request, with resolving the endpoint's name",
    )
    webhook_endpoint_concurrency: int = Field(
        8, ge=1, le=100, description="requests at the same time to one endpoint, from one process"
    )
    webhook_concurrency: int = Field(
        200,
        ge=1,
        le=10_000,
        description="requests at the same time, from one process; one project gets at most half",
    )
    webhook_disable_after_days: float = Field(
        5.0,
        ge=0,
        description="an endpoint is disabled after every attempt has failed for this long; 0: never",
    )
    webhook_retention_days: float = Field(
        30.0, gt=0, le=3650, description="how long the outcome of a delivery is kept"
    )
