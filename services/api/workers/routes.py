"""The route of the agent workers."""

from fastapi import APIRouter

from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem
from services.api.workers.hide_other_projects import hide_other_projects
from services.api.workers.schemas import Workers
from shared.core.workers.registry import read_fleet
from shared.platform.redis.streams import UNREACHABLE

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/workers", tags=["operations"], summary="List agent workers")
async def workers(services: Deps, asking: Admin) -> Workers:
    """List the agent workers that live now; of their sessions, those of the key's project."""
    try:
        fleet = await read_fleet(services.redis)
    except UNREACHABLE as error:
        detail = f"the worker registry can't be read, so it is not known which workers live: {error}"
        raise Problem(503, "registry_unreachable", detail, headers={"Retry-After": "2"}) from None
    return Workers(workers=await hide_other_projects(services.database, fleet.workers, asking))
