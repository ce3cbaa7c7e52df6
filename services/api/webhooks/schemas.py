"""The JSON of webhook endpoints and their deliveries."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.api.http.parameters import Time
from shared.contracts.events import Severity
from shared.contracts.names import Name
from shared.contracts.webhooks import EVERYTHING, DeliveryStatus, is_known
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow


def _known(pattern: str) -> str:
    if not is_known(pattern):
        raise ValueError(
            "is neither an event type nor the beginning of one, as in agent.*; see docs/events.md"
        )
    return pattern


EventPattern = Annotated[str, Field(max_length=64), AfterValidator(_known)]
EventPatterns = Annotated[list[EventPattern], Field(min_length=1, max_length=50)]
Url = Annotated[str, Field(max_length=2048, examples=["https://example.com/hooks/rollcall"])]


class NewWebhookEndpoint(BaseModel):
    """An endpoint to which events are sent."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    description: Name | None = None
    events: EventPatterns = Field(
        [EVERYTHING], description="types such as `session.failed.v1`, beginnings such as `agent.*`, or `*`"
    )
    min_severity: Severity = Field(Severity.INFO, description="only events of at least this severity")


class WebhookEndpointChange(BaseModel):
    """The fields to change; fields that are absent stay."""

    model_config = ConfigDict(extra="forbid")

    url: Url = ""
    description: Name | None = None
    events: EventPatterns = [EVERYTHING]
    min_severity: Severity = Severity.INFO
    enabled: bool = True


class WebhookEndpoint(BaseModel):
    """An endpoint. Every attempt has failed since `failing_since`.

    The endpoint asked for a pause until `paused_until`.
    """

    id: str
    url: str
    description: str | None
    events: list[str]
    min_severity: Severity
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    paused_until: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: WebhookEndpointRow) -> "WebhookEndpoint":
        """Return the model of a database row."""
        return cls.model_validate(row, from_attributes=True)


class CreatedWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its secret, which is shown only once."""

    secret: str = Field(repr=False)


class WebhookEndpoints(BaseModel):
    """Every endpoint of the project, oldest first."""

    endpoints: list[WebhookEndpoint]


class Rotation(BaseModel):
    """How long the old secret also signs."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: int = Field(86_400, ge=0, le=7 * 86_400)


class NewSecret(BaseModel):
    """The new secret, which is shown only once. Both secrets sign until `previous_secret_until`."""

    secret: str = Field(repr=False)
    previous_secret_until: datetime | None


class Delivery(BaseModel):
    """The delivery of one event to one endpoint, and its last attempt."""

    event_id: str
    session_id: str | None
    event_type: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    response_code: int | None
    latency_ms: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: WebhookDeliveryRow) -> "Delivery":
        """Return the model of a database row."""
        return cls.model_validate(row, from_attributes=True)


class DeliveryPage(BaseModel):
    """Deliveries, newest event first; `next_cursor` is null on the last page."""

    deliveries: list[Delivery]
    next_cursor: str | None


class Replay(BaseModel):
    """Which dead letters to send again: those given up at this time or later."""

    model_config = ConfigDict(extra="forbid")

    since: Time


class Replayed(BaseModel):
    """How many deliveries are pending again."""

    deliveries: int
