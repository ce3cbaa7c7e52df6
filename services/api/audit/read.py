"""Read the audit trail of a project."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.audit.schemas import AuditEntry
from services.api.http.paging import cut_page, one_more
from shared.contracts.identifiers import first_id
from shared.core.api_keys.tables import ApiKeyRow
from shared.core.audit.tables import AuditRow


@dataclass(frozen=True)
class AuditFilters:
    """Which entries are read; None matches all. The period includes `since` and excludes `until`."""

    action: str | None = None
    actor: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def read_audit(
    db: AsyncSession, project: str, filters: AuditFilters, *, limit: int, cursor: str | None
) -> tuple[list[AuditEntry], str | None]:
    """Return up to `limit` entries older than the cursor, newest first, and the next cursor."""
    # The name alone: the key's project is this one, and a key of the command line's user has no such id.
    query = (
        select(AuditRow, col(ApiKeyRow.name))
        .outerjoin(ApiKeyRow, col(ApiKeyRow.id) == col(AuditRow.actor))
        .where(col(AuditRow.project) == project)
    )
    for column, wanted in (
        (AuditRow.action, filters.action),
        (AuditRow.actor, filters.actor),
        (AuditRow.target, filters.target),
    ):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    if filters.since is not None:
        query = query.where(col(AuditRow.id) >= first_id(filters.since))
    if filters.until is not None:
        query = query.where(col(AuditRow.id) < first_id(filters.until))
    if cursor is not None:
        query = query.where(col(AuditRow.id) < cursor)
    rows = (await db.execute(query.order_by(col(AuditRow.id).desc()).limit(one_more(limit)))).all()
    page, next_cursor = cut_page(rows, limit, lambda row: str(row[0].id))
    return [AuditEntry.of(row, name) for row, name in page], next_cursor
