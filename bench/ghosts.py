"""Workers that serve until all of them go dead at once: one is frozen, one is cut off, one is killed.

LiveKit goes on listing the frozen one and the one that is cut off: it gives a worker's websocket no read
deadline. `bench.ghost` uses them.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from bench.joiners import Joiners, running_joiners
from bench.namespace import Namespace, running_namespace
from bench.options import say
from devstack.stack import Stack


@dataclass
class Ghosts:
    """Workers that serve until `lose`; `kinds` say what becomes of each."""

    kinds: list[str] = field(default_factory=list)
    _losses: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def add(self, kind: str, lose: Callable[[], Awaitable[None]]) -> None:
        """Add a worker, and how it goes dead."""
        self.kinds.append(kind)
        self._losses.append(lose)

    async def lose(self) -> None:
        """Let all of them go dead at once."""
        await asyncio.gather(*(lose() for lose in self._losses))


@asynccontextmanager
async def running_ghosts(stack: Stack, *, agent_name: str, slots: int, label: str) -> AsyncIterator[Ghosts]:
    """Run one worker for each kind of death that this machine can bring about."""
    ghosts = Ghosts()
    async with AsyncExitStack() as undo:

        async def run(kind: str, namespace: Namespace | None = None) -> Joiners:
            worker = running_joiners(
                stack,
                agent_name=agent_name,
                slots=slots,
                label=f"{label}-{kind.replace(' ', '-')}",
                through=namespace.command if namespace is not None else (),
            )
            return await undo.enter_async_context(worker)

        for kind, number in (("frozen", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            ghosts.add(kind, _sends(await run(kind), number))
        try:
            namespace = await undo.enter_async_context(running_namespace(stack))
        except OSError as error:
            say(f"no worker is cut off: this machine allows no network namespace ({error})")
        else:
            await run("cut off", namespace)
            ghosts.add("cut off", namespace.cut)
        yield ghosts


def _sends(worker: Joiners, number: signal.Signals) -> Callable[[], Awaitable[None]]:
    async def send() -> None:
        for process in worker.processes:
            process.kill(number, group=True)

    return send
