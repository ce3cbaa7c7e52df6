"""The routes of the agent workers."""

from fastapi import APIRouter

from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.workers.fleet import fleet_of
from services.api.workers.hide_other_projects import hide_other_projects
from services.api.workers.orders import order_worker
from services.api.workers.schemas import Ordered, Workers
from shared.contracts.workers import WorkerOrder

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/workers", tags=["operations"], summary="List agent workers")
async def workers(services: Deps, asking: Admin) -> Workers:
    """List the live agent workers and the lost ones, with their sessions that belong to the key's project."""
    fleet = await fleet_of(services.redis)
    return Workers(
        workers=await hide_other_projects(services.database, fleet.workers, asking),
        lost=await hide_other_projects(services.database, fleet.lost, asking),
    )


@router.post(
    "/v1/workers/{worker_id}/cordon",
    status_code=202,
    tags=["operations"],
    summary="Keep new jobs from a worker",
)
async def cordon(services: Deps, asking: Admin, worker_id: str) -> Ordered:
    """Order a worker to take no new jobs. Its calls go on.

    The worker reads the order with its next heartbeat, within a second, and then shows as `cordoned` in
    `GET /v1/workers`. It stays so, also when LiveKit gives it a new id, until it is uncordoned or its process
    ends. To order it again changes nothing.
    """
    return await order_worker(services.redis, worker_id, WorkerOrder.CORDON, asking=asking)


@router.post(
    "/v1/workers/{worker_id}/uncordon",
    status_code=202,
    tags=["operations"],
    summary="Let a worker take jobs again",
)
async def uncordon(services: Deps, asking: Admin, worker_id: str) -> Ordered:
    """Order a worker to take new jobs again. 409: it drains, and a drain can't be taken back."""
    return await order_worker(services.redis, worker_id, WorkerOrder.UNCORDON, asking=asking)


@router.post(
    "/v1/workers/{worker_id}/drain",
    status_code=202,
    tags=["operations"],
    summary="Let a worker end its calls, and itself",
)
async def drain(services: Deps, asking: Admin, worker_id: str) -> Ordered:
    """Order a worker to take no new jobs, and to end when its last call has ended, as SIGTERM does.

    Calls that last longer than its AGENT_DRAIN_TIMEOUT_S are ended then. When the worker is gone from
    `GET /v1/workers`, its process has ended, and its container may go.
    """
    return await order_worker(services.redis, worker_id, WorkerOrder.DRAIN, asking=asking)
