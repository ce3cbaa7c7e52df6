"""Celery's consumer, made to outlive its broker: whatever a lost connection raises, it connects anew.

Celery reconnects after the errors that a transport has declared, and ends the Celery worker after all others;
the transports forget some. And it knows no limit to a wait for the broker: so the consumer's thread gives a
sign of life (`Pulse`) that others look at.
"""

import time
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

from celery.utils.threads import bound_open_broker_sockets  # type: ignore[attr-defined]
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from shared.platform.celery.broker import GOODBYE_TIMEOUT_S, BrokerConnection
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

BEAT_S: Final = 0.5
# Two losses within this time are followed by a pause: the broker takes connections, and serves none.
SETTLED_S: Final = 5.0
PAUSE_S: Final = 1.0
# Redis answers a blocking read in 1 s, if only with nothing, and is asked again.
READ_OVERDUE_S: Final = 3.0
MOST_BEATS_WITHOUT_READ: Final = 3
# So many errors in a row that aren't the broker's are a fault of this process.
MOST_UNEXPECTED: Final = 10


class Pulse:
    """The sign of life of a consumer's thread, and whether it is connected. Written by it, read by others."""

    def __init__(self) -> None:
        self.beats = 0
        self.connected = False

    def beat(self) -> None:
        """The thread turns: it consumes, or tries to connect."""
        self.beats += 1


_Base: Any = Consumer  # celery-types knows few of its attributes


class LastingConsumer(_Base):  # type: ignore[misc]
    """A consumer that gives up for no broker's sake."""

    connection: Any
    connection_errors: tuple[type[BaseException], ...]
    task_consumer: Any

    class Blueprint(_Base.Blueprint):  # type: ignore[misc]
        """Without the queues for delayed tasks, of which there are none: 28 of them on RabbitMQ."""

        default_steps: ClassVar = [step for step in _Base.Blueprint.default_steps if "delayed" not in step]

    def __init__(self, *args: Any, pulse: Pulse, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pulse = pulse
        self._expected: tuple[type[BaseException], ...] = self.connection_errors + self.channel_errors
        self._unexpected = 0
        self._connected_at = self._lost_at = 0.0
        self._without_read = 0
        # Read by Celery: after which errors to connect anew, and which to bear while it closes.
        self.connection_errors = (Exception,)

    def ensure_connected(self, conn: BrokerConnection) -> BrokerConnection:
        """Connect, however long it takes; raises `WorkerShutdown` once the process is told to stop."""

        def look() -> None:
            self._pulse.beat()
            maybe_shutdown()

        def failed(error: Exception, pause_s: float) -> None:
            self._pulse.beat()
            log.warning("broker_unreachable", error=repr(error), retry_in_s=round(pause_s, 1))

        self._pulse.beat()
        conn.ensure_connection(failed, cast(Any, None), callback=look)  # None: without end
        self.first_connection_attempt = False
        return conn

    def register_with_event_loop(self, hub: Any) -> None:
        """Called when consuming begins: from now on the loop itself beats."""
        super().register_with_event_loop(hub)
        self._connected_at = time.monotonic()
        self._without_read = 0
        self._pulse.connected = True
        log.info("broker_connected")
        hub.timer.call_repeatedly(BEAT_S, self._beat)

    def on_connection_error_before_connected(self, error: Exception) -> None:
        """Connecting failed for another reason than that nobody answers."""
        self._lost(error)

    def on_connection_error_after_connected(self, error: Exception) -> None:
        """The connection broke. Running tasks go on; they can't be acknowledged any more."""
        connection, self.connection = self.connection, None
        if self.hub is not None:
            self.hub.on_tick.clear()  # the old connection's: kombu leaves it there for good
        bound_open_broker_sockets(connection, GOODBYE_TIMEOUT_S)
        connection.let_go()
        self._lost(error)

    def call_soon_ack(self, acknowledge: Callable[..., Any], logger: Any, _: Any, *rest: Any) -> Any:
        """Have the loop call a message's `ack_log_error` or `reject_log_error`.

        Celery waits for the broker once for each message, and goes on as if all were well.
        """
        channel = cast(Any, acknowledge).__self__.channel

        def attempt() -> None:
            if self.task_consumer is None or channel is not self.task_consumer.channel:
                log.debug("message_not_acknowledged", error="its connection is lost")
                return
            try:
                acknowledge(logger, (), *rest)  # no error is borne
            except Exception:
                self.task_consumer = None
                raise

        return super().call_soon_ack(attempt)

    def _beat(self) -> None:
        self._pulse.beat()
        self._without_read = 0 if _reads(self.connection) else self._without_read + 1
        if self._without_read > MOST_BEATS_WITHOUT_READ:
            # kombu has lost the socket out of its loop, which turns on and is told of nothing any more.
            raise ConnectionError("the loop reads nothing from the broker")
        if self._unexpected and time.monotonic() - self._connected_at > SETTLED_S:
            self._unexpected = 0

    def _lost(self, error: Exception) -> None:
        self._pulse.beat()
        self._pulse.connected = False
        log.warning("broker_lost", error=repr(error))
        if not isinstance(error, self._expected):
            self._unexpected += 1
        if self._unexpected > MOST_UNEXPECTED:
            raise error
        lost_at, self._lost_at = self._lost_at, time.monotonic()
        if self._lost_at - lost_at < SETTLED_S:
            time.sleep(PAUSE_S)


def _reads(connection: Any) -> bool:
    """Whether the loop of a Redis connection still asks for messages, as far as it may take any."""
    for channel in list(getattr(connection.transport, "channels", None) or ()) if connection else ():
        sent_at = getattr(channel, "_brpop_sent_at", None)
        if sent_at is None or not channel.active_queues or not channel.qos.can_consume():
            continue
        if time.monotonic() - sent_at > READ_OVERDUE_S:
            return False
    return True
