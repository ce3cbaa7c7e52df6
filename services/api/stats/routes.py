"""The routes of statistics. Each reads the request, calls one function, and builds the answer."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request

from services.api.auth.access import SessionsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, invalid_field
from services.api.http.parameters import Time
from services.api.limits.reading import while_connected
from services.api.stats.causes import group_causes
from services.api.stats.schemas import Causes, Stats
from services.api.stats.stats import read_sessions, stats_of
from shared.contracts.names import Sought
from shared.platform.clock import utc_now

router = APIRouter(responses=PROBLEMS, tags=["sessions"])

USUAL_TIME: Final = timedelta(days=1)

Since = Annotated[Time | None, Query(description="requested then or later; default: a day before `until`")]
Until = Annotated[Time | None, Query(description="requested before; default: now")]


@router.get("/v1/stats", summary="How the sessions fared")
async def stats(
    *,
    request: Request,
    services: Deps,
    asking: SessionsReader,
    agent_name: Sought | None = None,
    since: Since = None,
    until: Until = None,
) -> Stats:
    """Count outcomes, causes and the times to each level, over the newest 10,000 sessions of that time."""
    begin, end = _time(since, until)

    async def found() -> Stats:
        async with services.reading.snapshot(asking.project) as db:
            rows = await read_sessions(
                db, project=asking.project, since=begin, until=end, agent_name=agent_name
            )
        return stats_of(rows, since=begin, until=end)

    return await while_connected(request, found())


@router.get("/v1/causes", summary="Why sessions got no agent")
async def causes(
    *,
    request: Request,
    services: Deps,
    asking: SessionsReader,
    agent_name: Sought | None = None,
    since: Since = None,
    until: Until = None,
) -> Causes:
    """Group the failed sessions of that time by cause and agent name, the largest group first."""
    begin, end = _time(since, until)

    async def found() -> Causes:
        async with services.reading.snapshot(asking.project) as db:
            groups = await group_causes(
                db, project=asking.project, since=begin, until=end, agent_name=agent_name
            )
        return Causes(since=begin, until=end, causes=groups)

    return await while_connected(request, found())


def _time(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the time that is asked for; raises `Problem` if it has no length."""
    end = until or utc_now()
    begin = since or end - USUAL_TIME
    if begin >= end:
        raise invalid_field("since", "must be before `until`")
    return begin, end
