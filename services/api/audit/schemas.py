"""The JSON of the audit trail."""

from datetime import datetime

from pydantic import BaseModel, Field

from services.api.audit.trail import Via
from shared.core.audit.tables import AuditRow


class AuditEntry(BaseModel):
    """Something that somebody did."""

    id: str
    at: datetime
    via: Via
    actor: str | None = Field(
        description="the id of the API key, or the name of the user of the command line; null where the API "
        "asks nobody for a key"
    )
    key_name: str | None = Field(description="the key's name; null for others, and where the key is deleted")
    action: str = Field(description="such as key.create or worker.drain")
    target: str | None = Field(description="the id of what it was done to")

    @classmethod
    def of(cls, row: AuditRow, key_name: str | None) -> "AuditEntry":
        """Return the model of a database row."""
        return cls(key_name=key_name, **row.model_dump(exclude={"project"}))


class AuditPage(BaseModel):
    """Entries, newest first; `next_cursor` is null on the last page."""

    entries: list[AuditEntry]
    next_cursor: str | None
