"""Order a worker to take no new jobs, to take them again, or to end after its last call."""

from typing import Final

from redis.asyncio import Redis

from services.api.auth.access import Principal
from services.api.errors.problems import Problem
from services.api.workers.fleet import fleet_of, registry_unreachable
from services.api.workers.schemas import Ordered
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.core.workers.orders import give_order
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

_DRAINS: Final = "a drain can't be taken back: the worker ends when its calls have ended"


async def order_worker(redis: Redis, worker_id: str, order: WorkerOrder, *, asking: Principal) -> Ordered:
    """Store the order; the worker reads it with its next heartbeat. Raises `Problem`."""
    worker = await _worker(redis, worker_id)
    if order is WorkerOrder.UNCORDON and worker.draining:
        raise Problem(409, "worker_drains", _DRAINS)
    try:
        stands = await give_order(redis, worker_id, order)
    except UNREACHABLE as error:
        raise registry_unreachable(error) from None
    if order is WorkerOrder.UNCORDON and stands is not order:
        raise Problem(409, "worker_drains", _DRAINS)
    log.info("worker_ordered", worker_id=worker_id, order=order, host=worker.host, key_id=asking.key_id)
    return Ordered(
        worker_id=worker_id,
        order=stands,
        cordoned=worker.cordoned,
        draining=worker.draining,
        active_jobs=worker.active_jobs,
    )


async def _worker(redis: Redis, worker_id: str) -> WorkerHeartbeat:
    for worker in (await fleet_of(redis)).workers:
        if worker.worker_id == worker_id:
            return worker
    raise Problem(
        404, "worker_not_found", f"no worker {worker_id!r} lives: GET /v1/workers lists those that do"
    )
