"""Hide sessions of other projects in the list of agent workers, which serve all projects."""

from sqlalchemy import select
from sqlmodel import col

from services.api.auth.access import Principal
from shared.contracts.workers import WorkerHeartbeat
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database


async def hide_other_projects(
    database: Database, workers: list[WorkerHeartbeat], asking: Principal
) -> list[WorkerHeartbeat]:
    """Return the workers, each without the ids of other projects' sessions."""
    carried = {session_id for worker in workers for session_id in worker.sessions}
    if asking.key_id is None or not carried:
        return workers
    of_project = select(col(SessionRow.id)).where(
        col(SessionRow.id).in_(carried), col(SessionRow.project) == asking.project
    )
    async with database.read() as db:
        own = set(await db.scalars(of_project))
    return [
        worker.model_copy(update={"sessions": [sid for sid in worker.sessions if sid in own]})
        for worker in workers
    ]
