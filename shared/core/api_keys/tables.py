"""The tables of API keys, and of the browsers that were let in with one."""

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from shared.platform.database.columns import UtcDateTime, json_type


class ApiKeyRow(SQLModel, table=True):
    """An API key and its rights. The table has only the key's public id, and a hash of the whole key."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    project: str
    kind: str
    name: str
    key_hash: str = Field(repr=False)
    scopes: list[str] = Field(default_factory=list, sa_column=Column(json_type(), nullable=False))
    origins: list[str] = Field(default_factory=list, sa_column=Column(json_type(), nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ConsoleLoginRow(SQLModel, table=True):
    """A browser that has exchanged an API key for a cookie. The table has only a hash of the cookie."""

    __tablename__ = "console_login"

    id_hash: str = Field(primary_key=True, repr=False)
    key_id: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_used_at: datetime = Field(sa_type=UtcDateTime)
