"""The JSON of /v1/workers."""

from pydantic import BaseModel, Field

from shared.contracts.workers import WorkerHeartbeat, WorkerOrder


class Workers(BaseModel):
    """The live agent workers."""

    workers: list[WorkerHeartbeat]


class Ordered(BaseModel):
    """An order to a worker, and the worker's state at its last heartbeat."""

    worker_id: str
    order: WorkerOrder = Field(
        description="the order that stands: `drain` stays, whatever is ordered after it"
    )
    cordoned: bool
    draining: bool
    active_jobs: int
