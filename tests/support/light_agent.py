"""Our own worker, whose jobs are threads that join the room and do nothing: who is chosen is what matters.

Only the job is another one. How the worker registers, beats, and takes jobs is the library's own code.
"""

import asyncio
import os
from unittest.mock import patch

from livekit.agents import AgentServer
from livekit.agents.job import JobContext, JobExecutorType

from rollcall_agent.job.entrypoint import SetUp
from rollcall_agent.job.running_job import RunningJob
from services.agent import bootstrap
from services.agent.settings import AgentSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs
from tests.support.shared_media import outlive_panics

# In the environment of a worker: each of its jobs fails.
FAILS = "LIGHT_AGENT_FAILS"

_build = bootstrap.build_server


async def stay(ctx: JobContext) -> None:
    """Join the room, until it is closed or the dispatch is withdrawn; or fail, if all jobs shall."""
    if os.environ.get(FAILS):
        raise RuntimeError("injected by the test")
    await ctx.connect()


def _set_up(*_: object) -> None:
    """Set nothing up: the threads share this process."""


def _not_told(*_: object) -> None:
    """No job is Rollcall's, so that none tells anything."""


def build_light_server(settings: AgentSettings) -> AgentServer:
    """The service's server, with threads in place of processes."""
    server = _build(settings)
    server._entrypoint_fnc = stay
    server.update_options(job_executor_type=JobExecutorType.THREAD)
    return server


def main() -> None:
    """Run the worker."""
    settings = load_settings(AgentSettings)
    configure_logs(settings, service="agent")
    outlive_panics()
    with (
        patch.object(bootstrap, "build_server", build_light_server),
        patch.object(RunningJob, "open", _not_told),
        patch.object(RunningJob, "of", _not_told),
        patch.object(SetUp, "__call__", _set_up),
    ):
        asyncio.run(bootstrap.run_worker(settings))
