"""What the SDK calls in a job's process in place of the user's functions.

The SDK pickles these objects to the process. They hold the user's functions, which are pickled by their
names, as they are without this package.
"""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from livekit.agents.job import JobContext, JobProcess

from rollcall_agent.job.parts import JobParts
from rollcall_agent.job.running_job import RunningJob
from rollcall_agent.job.session_start import hook_session_start
from rollcall_agent.job.traced import trace_jobs
from rollcall_agent.logs import log_with_sdk


@dataclass(frozen=True)
class SetUp:
    """Prepares a process before it is given a job."""

    users: Callable[[JobProcess], Any] | None
    parts: JobParts

    def __call__(self, process: JobProcess) -> Any:
        """Prepare what is ours, then what is the user's."""
        # A SIGTERM to the whole group is for the worker, which then lets its calls finish.
        if self.parts.own_process:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log_with_sdk()
        trace_jobs(self.parts.settings)
        self.parts.remember(process)
        hook_session_start()
        return self.users(process) if self.users is not None else None


@dataclass(frozen=True)
class Entrypoint:
    """Runs the user's entrypoint, between our first report of the job and the cause of its failure."""

    users: Callable[[JobContext], Awaitable[None]]

    async def __call__(self, ctx: JobContext) -> None:
        """Run a job: with Rollcall if Rollcall has dispatched it, else as the SDK would."""
        job = RunningJob.open(ctx)
        await (self.users(ctx) if job is None else job.run(self.users))


@dataclass(frozen=True)
class SessionEnd:
    """Calls the user's `on_session_end`, then sends our last words, for which the SDK waits."""

    users: Callable[[JobContext], Any] | None

    async def __call__(self, ctx: JobContext) -> None:
        """End a job."""
        job = RunningJob.of(ctx)
        try:
            if self.users is not None:
                await self.users(ctx)
        finally:
            if job is not None:
                await job.aclose()
