"""Celery as Rollcall uses it: ids in JSON, no results, threads, and one asyncio loop for each process.

A message is a hint and the database row is the truth. So nothing here makes delivery exact: it only limits
the time of every call to the broker, and makes redeliveries come early.
"""

import asyncio
import os
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Final, Generic, NoReturn, TypeVar

from celery import Celery, current_task, signals
from celery.exceptions import SecurityWarning
from celery.utils.nodenames import gethostname, nodename
from kombu import Exchange, Queue
from kombu.exceptions import KombuError

from shared.contracts.broker_url import is_amqp
from shared.contracts.keys import (
    CLOSE_TASK,
    DISPATCH_QUEUE,
    DISPATCH_TASK,
    HOUSEKEEPING_QUEUE,
    VERIFY_QUEUE,
    VERIFY_TASK,
)
from shared.contracts.settings import ProcessSettings
from shared.contracts.traceparent import TRACEPARENT
from shared.platform.background import stop_all
from shared.platform.build import tell_build
from shared.platform.celery.broker import (
    CALL_TIMEOUT_S,
    HEARTBEAT_S,
    BrokerAmqp,
    BrokerConnection,
    broker_address,
    broker_errors,
    transport_options,
)
from shared.platform.celery.consumer import LastingConsumer, Pulse
from shared.platform.celery.task_metrics import ENQUEUED_AT, TaskMeter
from shared.platform.celery.watchdog import Watchdog
from shared.platform.garbage import spare_collections
from shared.platform.http.probe import start_probe
from shared.platform.logs.logs import configure_logs, get_logger
from shared.platform.threads import in_thread
from shared.platform.tracing.tracing import arrived, configure_tracing, stop_tracing

log = get_logger(__name__)

TASK_QUEUES = {
    DISPATCH_TASK: DISPATCH_QUEUE,
    VERIFY_TASK: VERIFY_QUEUE,
    CLOSE_TASK: HOUSEKEEPING_QUEUE,
}

EXIT_NOT_TOLD: Final = 1
CLOSE_TIMEOUT_S: Final = 1.5

# The sweep enqueues what a thread has not sent by then. Each step of the broker has a limit of its own, but
# the limits add up, and a server may answer byte by byte.
SEND_TIMEOUT_S = 10.0

T = TypeVar("T")


def make_celery(name: str, broker_url: str, *, queue_type: str = "classic") -> Celery:
    """Return a Celery application. It connects at the first send, or when its Celery worker starts.

    `queue_type` is that of the queues on RabbitMQ: `classic` or `quorum`. Raises `ValueError` for an invalid
    URL.
    """
    app = Celery(name, amqp=BrokerAmqp)
    arguments = {"x-queue-type": queue_type} if is_amqp(broker_url) else None
    app.conf.update(
        task_queues=[
            Queue(queue, Exchange(queue), routing_key=queue, queue_arguments=arguments)
            for queue in TASK_QUEUES.values()
        ],
        task_routes={task: {"queue": queue} for task, queue in TASK_QUEUES.items()},
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry=False,
        broker_connection_timeout=CALL_TIMEOUT_S,
        broker_heartbeat=HEARTBEAT_S,
        # On RabbitMQ, Celery's pool threads would use the consumer's connection, which then hangs forever.
        worker_enable_prefetch_count_reduction=False,
        broker_transport_options=transport_options(broker_url),
        **broker_address(broker_url),
    )
    return app


class TaskSender:
    """Enqueues tasks from asyncio code. Celery's client blocks, so a thread sends."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._is_amqp = is_amqp(app.conf.broker_url)
        self._limits: dict[str, Any] = (
            {"timeout": CALL_TIMEOUT_S, "confirm_timeout": CALL_TIMEOUT_S} if self._is_amqp else {}
        )

    async def send(
        self, task: str, session_ids: list[str], traceparents: Mapping[str, str] | None = None
    ) -> None:
        """Enqueue `task` for each session; raises a kombu or Redis error within a few seconds.

        `traceparents` maps each session to the position in its trace that asks for the task.
        """
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await in_thread(self._send, task, session_ids, traceparents or {})

    async def warm_up(self) -> None:
        """Connect now, so that the first task need not wait for it. A broker that is down is not an error."""

        def connect() -> None:
            with broker_errors(), self._app.producer_pool.acquire(block=True, timeout=5) as producer:
                if producer.connection is not None:
                    _ = producer.connection.default_channel  # reading it connects

        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await in_thread(connect)
        except (KombuError, OSError) as error:
            log.warning("broker_not_ready", error=repr(error))

    async def ping(self) -> None:
        """Open a new connection to the broker; raises a kombu or Redis error within a few seconds."""

        def connect() -> None:
            with broker_errors(), self._app.connection_for_write() as connection:
                _ = connection.ensure_connection(max_retries=1).default_channel

        async with asyncio.timeout(SEND_TIMEOUT_S):
            await in_thread(connect)

    async def waiting(self) -> Mapping[str, int]:
        """Return how many tasks wait in each queue of RabbitMQ; raises a kombu error or `OSError`.

        Also raises if a queue does not exist because no Celery worker has ever consumed it.
        """

        def count() -> Mapping[str, int]:
            connection: Any
            with broker_errors(), self._app.pool.acquire(block=True, timeout=5) as connection:
                try:
                    channel = connection.default_channel
                    return {
                        queue: int(channel.queue_declare(queue, passive=True).message_count)
                        for queue in TASK_QUEUES.values()
                    }
                except Exception:
                    connection.let_go()
                    raise

        async with asyncio.timeout(SEND_TIMEOUT_S):
            return await in_thread(count)

    def _send(self, task: str, session_ids: list[str], traceparents: Mapping[str, str]) -> None:
        with broker_errors():
            try:
                self._publish(task, session_ids, traceparents)
            except Exception:
                if not self._is_amqp:
                    raise  # redis-py has tried twice already
                # The connection may have died with the previous broker. Sending a task twice is harmless.
                self._publish(task, session_ids, traceparents)

    def _publish(self, task: str, session_ids: list[str], traceparents: Mapping[str, str]) -> None:
        with self._app.producer_pool.acquire(block=True, timeout=5) as producer:
            try:
                for session_id in session_ids:
                    headers: dict[str, Any] = {ENQUEUED_AT: time.time()}
                    if session_id in traceparents:
                        headers[TRACEPARENT] = traceparents[session_id]
                    self._app.send_task(
                        *(task, [session_id]),
                        headers=headers,
                        producer=producer,
                        retry=False,
                        **self._limits,
                    )
            except Exception:
                if isinstance(producer.connection, BrokerConnection) and self._is_amqp:
                    # The connection would go back to the pool, and py-amqp would not notice that nobody
                    # answers on it.
                    producer.connection.let_go()
                raise

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


class CeleryProcess(Generic[T]):
    """Connects a Celery worker with an asyncio loop on a thread of its own.

    The loop enters the context manager `service` when the Celery worker starts, and leaves it when the worker
    stops. Tasks reach the service through `run`.
    """

    def __init__(
        self,
        app: Celery,
        *,
        name: str,
        service: Callable[[], AbstractAsyncContextManager[T]],
        settings: ProcessSettings,
        unready: Callable[[T], Awaitable[str | None]] | None = None,
    ) -> None:
        """`unready` returns what keeps the service from working, apart from the broker.

        None if nothing does.
        """
        self._app = app
        self._name = name
        self._service = service
        self._settings = settings
        self._service_unready = unready
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asyncio", daemon=True)
        self._opened: T | None = None
        self._stack = AsyncExitStack()
        self._interruptible: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._stopping = False
        self._told_to_stop = False
        self._closing: Future[None] | None = None
        self._pulse = Pulse()
        self._watchdog = Watchdog(self._pulse, works=self._works, close=self._close)
        app.conf.worker_consumer = partial(LastingConsumer, pulse=self._pulse)
        signals.setup_logging.connect(self._configure_logs, weak=False)
        signals.worker_init.connect(self._start, weak=False)
        signals.worker_shutting_down.connect(self._interrupt, weak=False)
        signals.worker_shutdown.connect(self._stop, weak=False)

    def run(self, work: Callable[[T], Coroutine[Any, Any, None]], *, interruptible: bool = False) -> None:
        """Run `work(service)` on the loop and wait for it; a task calls this on its pool thread.

        Interruptible work is cancelled when the process shuts down; the sweep has another process continue
        it.
        """
        if self._opened is None:
            raise RuntimeError(f"{self._name} has not started")
        asyncio.run_coroutine_threadsafe(
            self._tracked(work(self._opened), interruptible, _asked_for_at()), self._loop
        ).result()

    async def _tracked(
        self, work: Coroutine[Any, Any, None], interruptible: bool, traceparent: object
    ) -> None:
        with arrived(traceparent):
            task = asyncio.ensure_future(work)
        if interruptible:
            self._interruptible.add(task)
            task.add_done_callback(self._interruptible.discard)
            if self._stopping:
                task.cancel()
        self._running += 1
        try:
            await task
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self._running -= 1

    def _configure_logs(self, **_: Any) -> None:
        configure_logs(self._settings, service=self._name)

    def _start(self, **_: Any) -> None:
        configure_tracing(self._settings, service=self._name)
        self._thread.start()
        self._opened = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        self._watchdog.start()
        spare_collections()
        log.info("celery_worker_started", message="celery worker starting", pid=os.getpid())

    async def _open(self) -> T:
        opened = await self._stack.enter_async_context(self._service())
        runner = await start_probe(self._settings, alive=lambda: self._watchdog.alive, ready=self._unready)
        if runner is not None:
            self._stack.push_async_callback(runner.cleanup)
        return opened

    async def _unready(self) -> str | None:
        if not self._pulse.connected:
            return "not connected to the broker"
        if self._service_unready is None or self._opened is None:
            return None
        return await self._service_unready(self._opened)

    def _interrupt(self, **_: Any) -> None:
        self._stopping = self._told_to_stop = True
        self._watchdog.stopping()
        asyncio.run_coroutine_threadsafe(stop_all(list(self._interruptible)), self._loop)

    def _stop(self, **_: Any) -> None:
        self._stopping = True
        self._watchdog.stopping()
        self._close(timeout_s=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        stop_tracing()

    def _works(self) -> bool:
        return self._running > 0 or self._closing is not None

    def _close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Stop the service; raises `TimeoutError` if it hangs, and any exception of the service."""
        if self._closing is None:
            self._closing = asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop)
        self._closing.result(timeout_s)

    def main(self, *, queues: list[str], concurrency: int) -> NoReturn:
        """Run the Celery worker of this process until it is told to stop.

        Exits with code 0 only if it was told to stop.
        """
        self._configure_logs()
        # Celery warns against running as root because of pickled messages. Ours are JSON, and nothing else is
        # accepted.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        TaskMeter().install(self._app)
        tell_build(self._name)
        worker = self._app.Worker(
            pool_cls="threads",
            concurrency=concurrency,
            queues=queues,
            hostname=nodename(f"{self._name}-{os.getpid()}", gethostname()),
            loglevel=self._settings.log_level,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        worker.start()
        sys.exit(worker.exitcode or (0 if self._told_to_stop else EXIT_NOT_TOLD))


def _asked_for_at() -> object:
    """Return the position in a trace that asked for this thread's task, if its sender set one."""
    return current_task.request.get(TRACEPARENT) if current_task else None
