"""The table of traffic between pools."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from shared.platform.database.columns import UtcDateTime, json_type


class TrafficRow(SQLModel, table=True):
    """How the sessions of an agent name are shared between its pools, in percent; together 100.

    `taken_back` are the data of the `ShareTakenBack` events since an operator set the shares, with `at`.
    """

    __tablename__ = "traffic"

    agent_name: str = Field(primary_key=True)
    shares: dict[str, int] = Field(sa_column=Column(json_type(), nullable=False))
    changed_at: datetime = Field(sa_type=UtcDateTime)
    taken_back: list[dict[str, Any]] = Field(
        default_factory=list, sa_column=Column(json_type(), nullable=False, server_default="[]")
    )
