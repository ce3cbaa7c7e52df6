"""Our own worker, whose jobs are threads that join the room and do nothing: who is chosen is what matters.

Only the job is another one. How the worker registers, beats, and takes jobs is the agent service's own code.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from livekit.agents import AgentServer
from livekit.agents.job import JobContext, JobExecutorType

from services.agent import bootstrap
from services.agent.settings import AgentSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs
from tests.support.shared_media import outlive_panics


async def stay(ctx: JobContext) -> None:
    """Join the room, until it is closed or the dispatch is withdrawn."""
    await ctx.connect()


async def _end(_: JobContext) -> None:
    """Say nothing at the end."""


def _set_up(*_: object, **__: object) -> None:
    """Set nothing up: the threads share this process."""


def _with_threads(build: Callable[..., AgentServer]) -> Callable[..., AgentServer]:
    def build_server(*args: Any) -> AgentServer:
        server = build(*args)
        server.update_options(job_executor_type=JobExecutorType.THREAD)
        server.setup_fnc = _set_up
        return server

    return build_server


def main() -> None:
    """Run the worker."""
    settings = load_settings(AgentSettings)
    configure_logs(settings, service="agent")
    outlive_panics()
    with (
        patch.object(bootstrap, "run_job", stay),
        patch.object(bootstrap, "end_job", _end),
        patch.object(bootstrap, "build_server", _with_threads(bootstrap.build_server)),
    ):
        asyncio.run(bootstrap.run_worker(settings))
