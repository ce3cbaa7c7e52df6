"""Stacks for benchmarks. If something fails, the ends of the logs are shown."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.options import BenchFailed, Options, console, say
from devstack.environment import clean_environment
from devstack.process import StartFailed
from devstack.provision.postgres import running_postgres
from devstack.stack import Stack
from shared.core.workers.registry import read_fleet
from shared.platform.redis.client import connect_redis

# The services between a request and a light joiner.
PIPELINE: Final = ("api", "dispatcher", "verifier")
EVERYTHING: Final = ("inference", "api", "dispatcher", "verifier", "transcripts", "agent")

LOG_LINES: Final = 6
_UNTOLD: Final = {"migrate", "redis", "livekit"}

_running: set[Stack] = set()


def kill_all() -> None:
    """Kill every stack of this process at once, for a user who does not want to wait."""
    for stack in _running:
        stack.kill()


@asynccontextmanager
async def bench_stack(
    chosen: Options,
    *,
    services: tuple[str, ...] = PIPELINE,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Stack]:
    """A whole stack in a temporary folder; `env` is for every service, `options` are `StackOptions`."""
    say(f"starting a stack: {', '.join(services) or 'LiveKit alone'} …")
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rollcall-bench-")))
        variables = clean_environment(env)
        if chosen.postgres:
            server = await asyncio.to_thread(undo.enter_context, running_postgres())
            variables["DATABASE_URL"] = await server.create_database("bench")
        stack = Stack(folder, env=variables, tell=say, notify=_notify, services=services, **options)
        try:
            await undo.enter_async_context(stack)
        except StartFailed as failed:
            raise BenchFailed(str(failed)) from None
        _running.add(stack)
        undo.callback(_running.discard, stack)
        try:
            yield stack
        except Exception:
            _show_logs(stack)
            raise


@asynccontextmanager
async def bare_stack(chosen: Options, *, services: tuple[str, ...] = ()) -> AsyncIterator[Stack]:
    """A LiveKit server only for the bare calls: on our server, each call would send webhooks to our API."""
    async with bench_stack(chosen, services=services, webhooks=False) as stack:
        yield stack


async def until_idle(stack: Stack, agent_name: str, *, timeout_s: float = 60.0) -> None:
    """Wait until there are workers of this name and none has a job; raises `BenchFailed`."""
    redis = connect_redis(stack.redis_url)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                workers = (await read_fleet(redis)).named(agent_name)
                if workers and all(worker.active_jobs == 0 for worker in workers):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BenchFailed(f"no idle worker named {agent_name} within {timeout_s:g} s") from None
    finally:
        await redis.aclose()


def _notify(name: str, what: str) -> None:
    say(f"  {name}: {what}")


def _show_logs(stack: Stack) -> None:
    for log in sorted(log for log in stack.logs.glob("*.log") if log.stem not in _UNTOLD):
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        console.print(f"--- the end of {log.name}", style="dim")
        for line in lines:
            console.print(line[:300], style="dim", markup=False)
