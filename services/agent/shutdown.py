"""Stop the worker: depending on the signals, let its calls finish, or end them."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


class Signals:
    """SIGTERM means drain. SIGINT, or a second signal, means stop now. A third one kills.

    An operator's order to drain is no signal: the SIGTERM with which a drained container is stopped goes on
    with the drain.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self._signalled = False

    def install(self) -> None:
        """Handle the signals in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.received, number)

    def received(self, number: signal.Signals) -> None:
        """Handle a signal."""
        log.info("signal_received", signal=signal.Signals(number).name)
        if self.stop.is_set():
            log.warning("killed")
            os._exit(1)  # the jobs' processes end when their pipe to this process breaks
        if number == signal.SIGINT or self._signalled:
            self.stop.set()
        self._signalled = True
        self.drain.set()


async def serve(
    *,
    run: Callable[[], Awaitable[None]],
    drain: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
    signals: Signals,
) -> None:
    """Run until a signal, drain unless told to stop now, then close.

    If `run` ends by itself, its exception is raised, after `close`.
    """
    running = asyncio.ensure_future(run())
    try:
        await _first_of(running, signals.drain.wait())
        if not running.done() and not signals.stop.is_set():
            await _drain(drain, running, signals)
    finally:
        await close()
    await running


async def _drain(
    drain: Callable[[], Awaitable[None]], running: asyncio.Future[None], signals: Signals
) -> None:
    draining = asyncio.ensure_future(drain())
    await _first_of(running, draining, signals.stop.wait())
    if not draining.done():
        # The SDK's drain() holds the lock that its aclose() needs.
        draining.cancel()
        await asyncio.wait([draining])
    elif isinstance(draining.exception(), TimeoutError):
        log.warning("drain_timed_out")
    else:
        draining.result()
        log.info("drained")


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:  # created here, so cancelled here
                task.cancel()
