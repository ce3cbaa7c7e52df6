"""What a worker hands to each of its jobs' processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from livekit.agents.job import JobProcess

from rollcall_agent.transport import Transport
from rollcall_agent.worker.shared_counter import SharedCounter
from rollcall_agent.worker.stop import WorkerStop
from shared.contracts.settings import WorkerSettings

_KEY: Final = "rollcall_agent.job.parts"


@dataclass(frozen=True)
class JobParts:
    """All that a job needs of its worker. `own_process`: False where jobs are threads of the worker."""

    settings: WorkerSettings
    transport: Transport
    redact: Callable[[str], str] | None
    stopping: WorkerStop
    spool_failures: SharedCounter
    own_process: bool

    def remember(self, process: JobProcess) -> None:
        """Keep this for the job that the process will be given."""
        process.userdata[_KEY] = self

    @staticmethod
    def of(process: JobProcess) -> "JobParts | None":
        """What the process was set up with; None where Rollcall is not attached."""
        parts: JobParts | None = process.userdata.get(_KEY)
        return parts
