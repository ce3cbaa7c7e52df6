"""Run several processes as one: started in the order in which they become ready, stopped in reverse."""

import asyncio
from collections.abc import Iterator, Sequence

from devstack.process import Notify, Process, ProcessSpec


class Supervisor:
    """Owns the processes of one stack. Each waits for those it names in `after`, no longer."""

    def __init__(self, specs: Sequence[ProcessSpec], *, notify: Notify) -> None:
        self._processes = {spec.name: Process(spec, notify=notify) for spec in specs}
        for spec in specs:
            if missing := {*spec.after, *spec.outlived_by} - self._processes.keys():
                raise ValueError(f"{spec.name} needs {', '.join(sorted(missing))}, which nobody starts")

    def __getitem__(self, name: str) -> Process:
        """The process of this name; raises `KeyError`."""
        return self._processes[name]

    def __iter__(self) -> Iterator[Process]:
        """All processes, in the order in which they were named."""
        return iter(self._processes.values())

    async def start(self) -> None:
        """Start everything; raises `StartFailed` after killing what had been started."""
        ready = {name: asyncio.Event() for name in self._processes}

        async def start_one(process: Process) -> None:
            for name in process.spec.after:
                await ready[name].wait()
            await process.start()
            ready[process.spec.name].set()

        try:
            async with asyncio.TaskGroup() as starts:
                for process in self:
                    starts.create_task(start_one(process))
        except BaseException as failed:
            self.kill_all()
            await self.stop()
            if isinstance(failed, BaseExceptionGroup):
                raise failed.exceptions[0] from None
            raise

    async def stop(self) -> None:
        """Stop everything, each process after all those that need it. Safe to call again."""
        gone = {name: asyncio.Event() for name in self._processes}

        async def stop_one(process: Process) -> None:
            for other in self:
                if process.spec.name in (*other.spec.after, *other.spec.outlived_by):
                    await gone[other.spec.name].wait()
            await process.stop()
            gone[process.spec.name].set()

        async with asyncio.TaskGroup() as stops:
            for process in self:
                stops.create_task(stop_one(process))

    def kill_all(self) -> None:
        """Kill everything at once; in reverse, so that nobody logs the loss of what it needs."""
        for process in reversed(list(self)):
            process.kill_group()
