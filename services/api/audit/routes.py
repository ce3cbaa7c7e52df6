"""The route of the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.audit.read import AuditFilters, read_audit
from services.api.audit.schemas import AuditPage
from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.http.parameters import Cursor, Time
from shared.contracts.names import Sought

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/audit", tags=["operations"], summary="Read who did what")
async def audit_trail(
    *,
    services: Deps,
    asking: Admin,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
    action: Sought | None = None,
    actor: Annotated[Sought | None, Query(description="the id of a key, or a user's name")] = None,
    target: Sought | None = None,
    since: Time | None = None,
    until: Time | None = None,
) -> AuditPage:
    """Read what was done in the project, newest first: over the API, in the console, and on the database.

    Requests that were refused are not in it, nor are starts of sessions: each session tells its key.
    """
    filters = AuditFilters(action, actor, target, since, until)
    async with services.reading.snapshot(asking.project) as db:
        entries, next_cursor = await read_audit(db, asking.project, filters, limit=limit, cursor=cursor)
    return AuditPage(entries=entries, next_cursor=next_cursor)
