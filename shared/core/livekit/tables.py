"""The table of the webhooks that LiveKit sent."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from shared.platform.database.columns import UtcDateTime


class WebhookReceiptRow(SQLModel, table=True):
    """A webhook that LiveKit sent. LiveKit repeats an event under the same id."""

    __tablename__ = "livekit_webhook_receipt"

    id: str = Field(primary_key=True)
    event: str
    room_name: str | None = None
    received_at: datetime = Field(sa_type=UtcDateTime, index=True)
