"""The JSON of /v1/workers."""

from pydantic import BaseModel, Field

from shared.contracts.workers import WorkerHeartbeat, WorkerOrder


class Workers(BaseModel):
    """The live agent workers, and those that are lost."""

    workers: list[WorkerHeartbeat]
    lost: list[WorkerHeartbeat] = Field(
        description="the last heartbeats, sent at `beat_at`, of workers that fell silent without a goodbye: "
        "their process was killed or is frozen, or their host is cut off. LiveKit may still list them. They "
        "stay here for 20 minutes, or until they are heard again"
    )


class Ordered(BaseModel):
    """An order to a worker, and the worker's state at its last heartbeat."""

    worker_id: str
    order: WorkerOrder = Field(
        description="the order that stands: `drain` stays, whatever is ordered after it"
    )
    cordoned: bool
    draining: bool
    active_jobs: int
