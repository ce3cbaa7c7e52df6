"""Run the worker that knows nothing of us."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cli.stack import Stack
from tests.support.sessions import until

FOREIGN_WORKER = Path(__file__).parent / "foreign_worker.py"


@asynccontextmanager
async def foreign_worker(
    stack: Stack, *, agent_name: str, log: Path, wait: bool = True
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A plain livekit-agents worker under this name, registered with the stack's LiveKit server."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(FOREIGN_WORKER),
            "start",
            env={**stack.env, "LIVEKIT_AGENT_NAME": agent_name},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        if wait:
            await until_registered(process, log)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def until_registered(process: asyncio.subprocess.Process, log: Path) -> None:
    async def registered() -> bool:
        assert process.returncode is None, log.read_text()
        return "registered worker" in log.read_text()

    await until(registered, what="the foreign worker is registered")
