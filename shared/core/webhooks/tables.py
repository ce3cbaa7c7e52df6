"""The tables of webhooks out. A delivery holds no copy of its event, which is read when it is sent."""

from datetime import datetime
from typing import Final

from sqlalchemy import Column, ColumnElement, ForeignKey, Index, Text, literal_column, text
from sqlmodel import Field, SQLModel, col

from shared.contracts.events import Severity
from shared.contracts.webhooks import DeliveryStatus
from shared.platform.database.columns import UtcDateTime, json_type

_PENDING: Final = text(f"status = '{DeliveryStatus.PENDING}'")
_DEAD: Final = text(f"status = '{DeliveryStatus.DEAD}'")


class WebhookEndpointRow(SQLModel, table=True):
    """An endpoint to which a project's events are sent.

    `shared.core.webhooks.secrets` seals `secret` and `previous_secret`; the previous one also signs until
    `previous_secret_until`. The endpoint gets no events from before `collects_from`. It asked for no requests
    until `paused_until`. Every attempt has failed since `failing_since`.
    """

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("ix_webhook_endpoint_project_id", "project", "id"),)

    id: str = Field(primary_key=True)
    project: str
    url: str = Field(sa_type=Text)
    description: str | None = None
    events: list[str] = Field(sa_column=Column(json_type(), nullable=False))
    min_severity: str = Severity.INFO
    secret: str = Field(sa_type=Text, repr=False)
    previous_secret: str | None = Field(default=None, sa_type=Text, repr=False)
    previous_secret_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    enabled: bool = True
    disabled_reason: str | None = None
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    paused_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    collects_from: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class WebhookDeliveryRow(SQLModel, table=True):
    """The delivery of one event to one endpoint. A test has no session; its event is stored only here.

    `attempts` counts the attempts that have begun, including the current one. Until `claimed_until`, a
    process is sending it. Both together identify the process that may record the outcome.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "ix_webhook_delivery_due",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=_PENDING,
            sqlite_where=_PENDING,
        ),
        Index(
            "ix_webhook_delivery_dead",
            "endpoint_id",
            "event_id",
            postgresql_where=_DEAD,
            sqlite_where=_DEAD,
        ),
        Index("ix_webhook_delivery_finished", "finished_at"),
    )

    endpoint_id: str = Field(
        sa_column=Column(ForeignKey("webhook_endpoint.id", ondelete="CASCADE"), primary_key=True)
    )
    event_id: str = Field(primary_key=True)
    session_id: str | None = None
    event_type: str
    status: str = DeliveryStatus.PENDING
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    response_code: int | None = None
    latency_ms: int | None = None
    error: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebhookCursorRow(SQLModel, table=True):
    """The time up to which every session event has been collected for the endpoints."""

    __tablename__ = "webhook_cursor"

    name: str = Field(primary_key=True)
    position: datetime = Field(sa_type=UtcDateTime)


def has_status(status: DeliveryStatus) -> ColumnElement[bool]:
    """Return the condition with a literal value: with a bound one, no database uses a partial index."""
    return col(WebhookDeliveryRow.status) == literal_column(f"'{status}'")
