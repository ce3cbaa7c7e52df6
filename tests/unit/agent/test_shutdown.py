"""What the signals do to an agent worker."""

import asyncio
import multiprocessing
import signal
from multiprocessing.connection import Connection

import pytest

from rollcall_agent.worker.stop import WorkerStop
from services.agent.shutdown import Signals, serve


class Server:
    """A worker whose calls last until `calls_end` is set."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.draining = asyncio.Event()
        self.calls_end = asyncio.Event()
        self._closed = asyncio.Event()

    async def run(self) -> None:
        await self._closed.wait()

    async def drain(self) -> None:
        self.done.append("draining")
        self.draining.set()
        try:
            await self.calls_end.wait()
        except asyncio.CancelledError:
            self.done.append("drain cancelled")
            raise
        self.done.append("drained")

    async def close(self) -> None:
        self.done.append("closed")
        self._closed.set()

    def serve(self, signals: Signals) -> "asyncio.Task[None]":
        return asyncio.create_task(serve(run=self.run, drain=self.drain, close=self.close, signals=signals))


async def test_sigterm_lets_calls_end_by_themselves() -> None:
    server, signals = Server(), Signals()
    serving = server.serve(signals)
    signals.received(signal.SIGTERM)
    await server.draining.wait()
    assert not serving.done()
    server.calls_end.set()
    await serving
    assert server.done == ["draining", "drained", "closed"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_calls(second: signal.Signals) -> None:
    server, signals = Server(), Signals()
    serving = server.serve(signals)
    signals.received(signal.SIGTERM)
    await server.draining.wait()
    signals.received(second)
    await serving
    assert server.done == ["draining", "drain cancelled", "closed"]


async def test_a_container_that_is_stopped_while_its_worker_drains_as_ordered_loses_no_call() -> None:
    server, signals = Server(), Signals()
    serving = server.serve(signals)
    signals.drain.set()
    await server.draining.wait()
    signals.received(signal.SIGTERM)
    assert not signals.stop.is_set()
    server.calls_end.set()
    await serving
    assert server.done == ["draining", "drained", "closed"]


async def test_sigint_ends_the_calls_at_once() -> None:
    server, signals = Server(), Signals()
    serving = server.serve(signals)
    signals.received(signal.SIGINT)
    await serving
    assert server.done == ["closed"]


async def test_calls_that_outlast_the_drain_are_ended() -> None:
    class Impatient(Server):
        async def drain(self) -> None:
            raise TimeoutError

    server, signals = Impatient(), Signals()
    serving = server.serve(signals)
    signals.received(signal.SIGTERM)
    await serving
    assert server.done == ["closed"]


async def test_a_worker_that_fails_is_closed_and_tells() -> None:
    class Failing(Server):
        async def run(self) -> None:
            raise RuntimeError("failed to connect to livekit after 16 attempts")

    server = Failing()
    with pytest.raises(RuntimeError, match="16 attempts"):
        await server.serve(Signals())
    assert server.done == ["closed"]


def _tell_what_is_announced(stopping: WorkerStop, pipe: Connection) -> None:
    while pipe.recv():
        pipe.send(stopping.announced)


def test_a_job_process_knows_at_once_that_its_worker_stops() -> None:
    context = multiprocessing.get_context("forkserver")
    stopping = WorkerStop()
    ours, theirs = context.Pipe()
    process = context.Process(target=_tell_what_is_announced, args=(stopping, theirs))
    process.start()

    def seen() -> bool:
        ours.send(True)
        assert ours.poll(60)
        return bool(ours.recv())

    try:
        assert not seen()
        stopping.announce()
        assert seen()
    finally:
        ours.send(False)
        process.join(60)
