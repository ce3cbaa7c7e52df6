"""The route of the line."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.auth.access import SessionsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.line.line import read_lines
from services.api.line.schemas import Lines
from shared.contracts.names import Sought

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/line", tags=["sessions"], summary="List who waits for an agent")
async def line(
    services: Deps,
    asking: SessionsReader,
    *,
    agent_name: Sought | None = None,
    limit: Annotated[int, Query(ge=1, le=200, description="sessions of each line")] = 50,
) -> Lines:
    """List the project's sessions that wait for an agent, by agent name and pool: why, and until when.

    A session that no worker can take now waits in the line of its agent name and pool, in the order of the
    requests. It goes on with the next free slot, and fails at its deadline.
    """
    async with services.reading.snapshot(asking.project) as db:
        return await read_lines(db, asking.project, agent_name=agent_name, limit=limit)
