"""The JSON of /v1/workers."""

from pydantic import BaseModel

from shared.contracts.workers import WorkerHeartbeat


class Workers(BaseModel):
    """The agent workers that live now."""

    workers: list[WorkerHeartbeat]
