"""Run several processes together: start each after the ones it needs, and stop them in reverse order."""

import asyncio
from collections.abc import Iterator, Sequence

from devstack.process import Notify, Process, ProcessSpec


class Supervisor:
    """Owns the processes of one stack. Each process waits only for those that it names in `after`."""

    def __init__(self, specs: Sequence[ProcessSpec], *, notify: Notify) -> None:
        self._processes = {spec.name: Process(spec, notify=notify) for spec in specs}
        for spec in specs:
            if missing := {*spec.after, *spec.outlived_by} - self._processes.keys():
                raise ValueError(
                    f"{spec.name} needs {', '.join(sorted(missing))}, which is not part of the stack"
                )

    def __getitem__(self, name: str) -> Process:
        """Return the process of this name; raises `KeyError`."""
        return self._processes[name]

    def __iter__(self) -> Iterator[Process]:
        """Yield all processes, in the given order."""
        return iter(self._processes.values())

    async def start(self) -> None:
        """Start everything. On a failure, kill all started processes and raise `StartFailed`."""
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
        """Stop everything, each process after all that need it. Safe to call again."""
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
        """Kill everything at once; in reverse order, so that no process logs the loss of another."""
        for process in reversed(list(self)):
            process.kill_group()
