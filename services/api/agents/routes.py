"""The routes of agent names."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.api.agents.demand import read_demand
from services.api.agents.schemas import Demand
from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.workers.fleet import fleet_of
from shared.contracts.names import AgentName, Deployment

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/agents/{agent_name}/demand", tags=["operations"], summary="How many slots are wanted")
async def demand(
    services: Deps,
    _: Admin,
    agent_name: Annotated[AgentName, Path(description="as workers register under it")],
    *,
    deployment: Annotated[Deployment | None, Query(description="one pool; default: all together")] = None,
    buffer: Annotated[
        int, Query(ge=0, le=100_000, description="free slots to have beyond what is wanted")
    ] = 0,
) -> Demand:
    """How many slots the workers of an agent name should have now.

    `wanted` is the number for an autoscaler, such as KEDA's metrics-api scaler: the slots in use, one for
    each session that wants an agent and has none, and `buffer` more.

    Every replica answers with the same number. A name that nobody knows has a demand of `buffer`.
    """
    fleet = await fleet_of(services.redis)
    return await read_demand(
        services.database, fleet, agent_name=agent_name, deployment=deployment, buffer=buffer
    )
