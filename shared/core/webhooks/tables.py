"""The tables of webhooks out. A delivery holds no text of its event: that is read when it is sent."""

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
    """Where a project wants its events.

    `secret` and `previous_secret` are as `shared.core.webhooks.secrets` seals them; the previous one
    signs too until `previous_secret_until`. Events before `collects_from` are none of its own. It is left
    in peace until `paused_until`, since it asked for it, and every attempt has failed since
    `failing_since`.
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
    """One event on its way to one endpoint. A test has no session, and an event that is nowhere else.

    `attempts` counts those that were begun, the current one included. While `claimed_until` has not come,
    somebody is sending it; both together say who may record the outcome.
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
    """Until when every session event has been looked at for endpoints that want it."""

    __tablename__ = "webhook_cursor"

    name: str = Field(primary_key=True)
    position: datetime = Field(sa_type=UtcDateTime)


def has_status(status: DeliveryStatus) -> ColumnElement[bool]:
    """Written out, not bound: for a bound value neither database can tell that a partial index will do."""
    return col(WebhookDeliveryRow.status) == literal_column(f"'{status}'")
