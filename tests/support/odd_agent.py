"""Our own worker, whose jobs fail where the session's metadata says so: `{"fault": "raises before …"}`.

Only the point of failure is injected; how it is reported and found out is the agent service's own code.
"""

import asyncio
import json
import os
import signal
import time
from unittest.mock import patch

from livekit.agents.job import JobContext

from services.agent import bootstrap
from services.agent.converse import Conversation, converse
from services.agent.settings import AgentSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs


def fault_in(metadata: str) -> str | None:
    """Return the fault that the session asks for."""
    try:
        loaded = json.loads(metadata)
    except ValueError:
        return None
    return loaded.get("fault") if isinstance(loaded, dict) else None


async def _raise(*_: object, **__: object) -> None:
    raise RuntimeError("injected by the test")


async def _block(*_: object, **__: object) -> None:
    time.sleep(3600)  # noqa: ASYNC251 - the point: the event loop turns no more


async def _wait_for_ever(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


async def _be_killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_INJECTED = {
    "is killed before connecting": ("connect", _be_killed),
    "raises before connecting": ("connect", _raise),
    "raises after connecting": ("start", _raise),
    "blocks before connecting": ("connect", _block),
    "never connects": ("connect", _wait_for_ever),
}


async def run_odd_job(ctx: JobContext) -> None:
    """The service's entry point, with one of its functions broken."""
    injected = _INJECTED.get(fault_in(ctx.job.metadata) or "")
    if injected is None:
        await converse(ctx)
        return
    name, broken = injected
    with patch.object(ctx if name == "connect" else Conversation, name, broken):
        await converse(ctx)


def main() -> None:
    """Run the worker as `python -m services.agent` does, with the other entry point, and without MCP."""
    settings = load_settings(AgentSettings)
    configure_logs(settings, service="agent")
    bootstrap.converse = run_odd_job  # type: ignore[attr-defined]
    bootstrap.PRELOADED = ("services.agent.converse",)
    asyncio.run(bootstrap.run_worker(settings))
