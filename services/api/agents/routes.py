"""The routes of agent names."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from services.api.agents.demand import read_demand
from services.api.agents.profile import etag_of, expected_version, get_profile, list_profiles, put_profile
from services.api.agents.schemas import Demand, Shares, StoredProfile, StoredProfiles, Traffic
from services.api.agents.traffic import show_traffic
from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import CHANGED, PROBLEMS
from services.api.workers.fleet import fleet_of
from shared.contracts.names import AgentName, Deployment
from shared.contracts.profiles import Profile
from shared.core.pools.traffic import set_traffic
from shared.platform.clock import utc_now
from shared.platform.logs.logs import get_logger

router = APIRouter(responses=PROBLEMS)
log = get_logger(__name__)

MAX_PAGE = 200
MAX_VERSION = 2**31 - 1  # of the column
Name = Annotated[AgentName, Path(description="as workers register under it")]


@router.get("/v1/agents", tags=["operations"], summary="List agents' profiles")
async def list_agents(
    services: Deps,
    _: Admin,
    *,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[AgentName | None, Query(description="`next_cursor` of the previous page")] = None,
) -> StoredProfiles:
    """The newest version of each profile that is stored, by agent name."""
    rows, next_cursor = await list_profiles(services.database, limit=limit, cursor=cursor)
    return StoredProfiles(profiles=[StoredProfile.of(row) for row in rows], next_cursor=next_cursor)


@router.get("/v1/agents/{agent_name}", tags=["operations"], summary="Read an agent's profile")
async def get_agent(
    services: Deps,
    response: Response,
    _: Admin,
    agent_name: Name,
    *,
    version: Annotated[
        int | None, Query(ge=1, le=MAX_VERSION, description="an earlier version; default: the newest")
    ] = None,
) -> StoredProfile:
    """What the built-in agent of this name is, as it was stored; secrets are named in it.

    The `ETag` is the version, for `If-Match`.
    """
    row = await get_profile(services.database, agent_name, version)
    response.headers["ETag"] = etag_of(row.version)
    return StoredProfile.of(row)


@router.put(
    "/v1/agents/{agent_name}",
    tags=["operations"],
    summary="Store an agent's profile",
    responses={412: CHANGED},
)
async def put_agent(
    services: Deps,
    response: Response,
    asking: Admin,
    agent_name: Name,
    profile: Profile,
    *,
    if_match: Annotated[str | None, Header(description="the version that you have read, as its ETag")] = None,
    if_none_match: Annotated[str | None, Header(description="`*`: only if no profile is stored")] = None,
) -> StoredProfile:
    """Store the next version of what the built-in agent of this name is.

    It holds for sessions that are requested from now on. Each session keeps the version that was the newest
    when its agent was asked for, in every attempt. A stored profile comes in the place of the one in the
    worker's file; `{}` leaves everything to the worker's settings.
    """
    expected = expected_version(if_match, if_none_match)
    row = await put_profile(
        services.database, agent_name, profile, expected=expected, key_id=asking.key_id, now=utc_now()
    )
    log.info("profile_stored", agent_name=agent_name, version=row.version, key_id=asking.key_id)
    response.headers["ETag"] = etag_of(row.version)
    return StoredProfile.of(row)


@router.get("/v1/agents/{agent_name}/traffic", tags=["operations"], summary="Read the traffic between pools")
async def get_traffic(services: Deps, _: Admin, agent_name: Name) -> Traffic:
    """How sessions that name no pool are shared, and which workers there are in each pool."""
    return await show_traffic(services.database, services.redis, agent_name)


@router.put("/v1/agents/{agent_name}/traffic", tags=["operations"], summary="Share traffic between pools")
async def put_traffic(services: Deps, asking: Admin, agent_name: Name, shares: Shares) -> Traffic:
    """Share the sessions that name no pool between pools, in percent: `{"blue": 90, "green": 10}`.

    It holds for sessions that are requested from now on. Sessions that were requested before stay in their
    pool. `{}` takes the shares away: sessions that name no pool go to the pool without a name. A share that
    was taken back from a failing pool may be given again; its sessions are then counted anew.
    """
    async with services.database.write() as db:
        await set_traffic(db, agent_name, shares.root, now=utc_now())
    log.info("traffic_shared", agent_name=agent_name, shares=shares.root, key_id=asking.key_id)
    return await show_traffic(services.database, services.redis, agent_name)


@router.get("/v1/agents/{agent_name}/demand", tags=["operations"], summary="How many slots are wanted")
async def demand(
    services: Deps,
    _: Admin,
    agent_name: Name,
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
