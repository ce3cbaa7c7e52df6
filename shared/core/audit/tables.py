"""The table of the audit trail."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from shared.platform.database.columns import UtcDateTime


class AuditRow(SQLModel, table=True):
    """Something that somebody did: `action` to `target`, the id of a thing, where it has one.

    `via` says how (`Via`). `actor` is the id of the API key, or the name of the user of the command line; it
    is null where nobody was asked for a key. Ids are UUIDv7, so they sort by time.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_project_id", "project", "id"),)

    id: str = Field(primary_key=True)
    project: str
    at: datetime = Field(sa_type=UtcDateTime)
    via: str
    actor: str | None = None
    action: str
    target: str | None = None
