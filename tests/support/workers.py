"""Run agent workers: foreign ones, and our own with special settings."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from devstack.ports import free_port
from devstack.stack import Stack
from tests.support.sessions import Rollcall, until

FOREIGN_WORKER = Path(__file__).parent / "foreign_worker.py"
ODD_WORKER = Path(__file__).parent / "odd_worker.py"
OWN_AGENT = Path(__file__).parent / "own_agent.py"
ODD_AGENT = "from tests.support.odd_agent import main; main()"


@asynccontextmanager
async def foreign_worker(
    stack: Stack,
    *,
    agent_name: str,
    log: Path,
    wait: bool = True,
    program: Path = FOREIGN_WORKER,
    through: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Yield a plain livekit-agents worker of this name, registered with the stack's LiveKit server.

    through: what runs the program, as `-m rollcall_agent`.
    """
    # These agents hear nothing, so they need none of the SDK's own models.
    deaf = {"LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "0"}
    variables = {**stack.env, **deaf, "LIVEKIT_AGENT_NAME": agent_name, **(env or {})}
    async with _running([*through, str(program), "start"], env=variables, log=log) as process:
        if wait:
            await until_registered(process, log)
        yield process


async def until_registered(process: asyncio.subprocess.Process, log: Path) -> None:
    async def registered() -> bool:
        assert process.returncode is None, log.read_text()
        return "registered worker" in log.read_text()

    await until(registered, what="the foreign worker is registered")


@dataclass(frozen=True)
class OurWorker:
    """A running worker of ours; the processes of its jobs are its children.

    rollcall_port: where it reaches Rollcall, which is Redis or the API.
    """

    process: asyncio.subprocess.Process
    agent_name: str
    log: Path
    rollcall_port: int

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker's main process."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def children(self) -> list[psutil.Process]:
        """Every process of the worker but the main one."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def job_processes(self) -> list[psutil.Process]:
        """Return the processes that run a job: unlike warm ones, they are connected to Rollcall."""
        return [child for child in self.children() if _talks_to(child, self.rollcall_port)]

    def send_to_jobs(self, number: signal.Signals) -> int:
        """Send a signal to every process that runs a job; return how many there are."""
        processes = self.job_processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return len(processes)


@asynccontextmanager
async def own_worker(
    rollcall: Rollcall, *, agent_name: str, log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[OurWorker]:
    """Yield a user's worker, `python own_agent.py start`, which is in the registry and ready for a job."""
    variables = {"OWN_AGENT_NAME": agent_name, "AGENT_SPOOL_DIR": str(log.parent / "spool"), **(env or {})}
    worker = foreign_worker(rollcall.stack, agent_name=agent_name, log=log, program=OWN_AGENT, env=variables)
    async with worker as process:
        await until_in_registry(rollcall, process, log)

        async def ready() -> bool:
            return "process initialized" in log.read_text()

        await until(ready, what="a process is ready for a job")
        way = variables.get("ROLLCALL_URL") or rollcall.stack.redis_url
        yield OurWorker(process, agent_name, log, _port_of(way))


@asynccontextmanager
async def our_worker(
    rollcall: Rollcall,
    *,
    agent_name: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    program: str = ODD_AGENT,
    in_registry: bool = True,
) -> AsyncIterator[OurWorker]:
    """Yield a registered worker of ours with this name. Sessions can ask it for faults.

    `in_registry=False`: `env` gives it to another installation, whose registry this API does not read.
    """
    variables = {
        **rollcall.stack.env,
        "LIVEKIT_AGENT_NAME": agent_name,
        "AGENT_IDLE_PROCESSES": "1",
        "PROBE_HOST": "127.0.0.1",
        "PROBE_PORT": str(free_port()),
        **(env or {}),
    }
    async with _running(["-c", program], env=variables, log=log) as process:
        if in_registry:
            await until_in_registry(rollcall, process, log)
        else:
            await until_registered(process, log)
        yield OurWorker(process, agent_name, log, _port_of(variables["REDIS_URL"]))


async def until_in_registry(rollcall: Rollcall, process: asyncio.subprocess.Process, log: Path) -> None:
    async def registered() -> bool:
        assert process.returncode is None, log.read_text()
        workers = (await rollcall.get("/v1/workers"))["workers"]
        return any(worker["pid"] == process.pid and worker["registered"] for worker in workers)

    await until(registered, what="our worker is in the registry")


@asynccontextmanager
async def _running(
    arguments: Sequence[str], *, env: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=dict(env),
            cwd=log.parent,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _talks_to(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(connection.raddr and connection.raddr.port == port for connection in connections)
