"""The table of profiles."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from shared.platform.database.columns import UtcDateTime, json_type


class ProfileRow(SQLModel, table=True):
    """One version of an agent name's profile. It never changes, since sessions refer to it."""

    __tablename__ = "agent_profile"

    agent_name: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    profile: dict[str, Any] = Field(sa_column=Column(json_type(), nullable=False))
    key_id: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
