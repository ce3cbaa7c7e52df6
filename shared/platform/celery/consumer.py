"""Celery's consumer, made to outlive its broker: it reconnects, whatever exception a lost connection raises.

Celery reconnects after the errors that a transport declares, and ends the Celery worker after all others; the
transports do not declare all of them. Celery also has no limit for waiting for the broker. So the consumer's
thread gives a sign of life (`Pulse`), which the watchdog checks.
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
# Two losses within this time are followed by a pause: the broker then accepts connections and serves none.
SETTLED_S: Final = 5.0
PAUSE_S: Final = 1.0
# Redis answers a blocking read within 1 s, perhaps with nothing; then the loop asks again.
READ_OVERDUE_S: Final = 3.0
MOST_BEATS_WITHOUT_READ: Final = 3
# After so many errors in a row that are not the broker's, the fault is in this process.
MOST_UNEXPECTED: Final = 10


class Pulse:
    """The sign of life of a consumer's thread, and whether it is connected.

    That thread writes it; others read it.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.connected = False

    def beat(self) -> None:
        """Note that the thread is running: it consumes, or tries to connect."""
        self.beats += 1


_Base: Any = Consumer  # celery-types knows few of its attributes


class LastingConsumer(_Base):  # type: ignore[misc]
    """A consumer that no failure of the broker ends."""

    connection: Any
    connection_errors: tuple[type[BaseException], ...]
    task_consumer: Any

    class Blueprint(_Base.Blueprint):  # type: ignore[misc]
        """Celery's steps without the queues for delayed tasks, which we don't use: 28 queues on RabbitMQ."""

        default_steps: ClassVar = [step for step in _Base.Blueprint.default_steps if "delayed" not in step]

    def __init__(self, *args: Any, pulse: Pulse, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pulse = pulse
        self._expected: tuple[type[BaseException], ...] = self.connection_errors + self.channel_errors
        self._unexpected = 0
        self._connected_at = self._lost_at = 0.0
        self._without_read = 0
        # Celery reads these: the errors after which it reconnects, and those that it ignores while it closes.
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
        conn.ensure_connection(failed, cast(Any, None), callback=look)  # None: no limit
        self.first_connection_attempt = False
        return conn

    def register_with_event_loop(self, hub: Any) -> None:
        """Called when consuming begins: from now on, the loop itself beats."""
        super().register_with_event_loop(hub)
        self._connected_at = time.monotonic()
        self._without_read = 0
        self._pulse.connected = True
        log.info("broker_connected")
        hub.timer.call_repeatedly(BEAT_S, self._beat)

    def on_connection_error_before_connected(self, error: Exception) -> None:
        """Handle a failure to connect other than "no answer"."""
        self._lost(error)

    def on_connection_error_after_connected(self, error: Exception) -> None:
        """Handle a broken connection. Running tasks continue; they can't be acknowledged any more."""
        connection, self.connection = self.connection, None
        if self.hub is not None:
            self.hub.on_tick.clear()  # the old connection's; kombu never removes it
        bound_open_broker_sockets(connection, GOODBYE_TIMEOUT_S)
        connection.let_go()
        self._lost(error)

    def call_soon_ack(self, acknowledge: Callable[..., Any], logger: Any, _: Any, *rest: Any) -> Any:
        """Let the loop call a message's `ack_log_error` or `reject_log_error`.

        Celery would wait for the broker once for each message, and continue as if all were well.
        """
        channel = cast(Any, acknowledge).__self__.channel

        def attempt() -> None:
            if self.task_consumer is None or channel is not self.task_consumer.channel:
                log.debug("message_not_acknowledged", error="its connection is lost")
                return
            try:
                acknowledge(logger, (), *rest)  # no error is ignored
            except Exception:
                self.task_consumer = None
                raise

        return super().call_soon_ack(attempt)

    def _beat(self) -> None:
        self._pulse.beat()
        self._without_read = 0 if _reads(self.connection) else self._without_read + 1
        if self._without_read > MOST_BEATS_WITHOUT_READ:
            # kombu has dropped the socket from its loop, which keeps running but hears of nothing any more.
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
    """Return whether the loop of a Redis connection still asks for messages, if it may take any."""
    for channel in list(getattr(connection.transport, "channels", None) or ()) if connection else ():
        sent_at = getattr(channel, "_brpop_sent_at", None)
        if sent_at is None or not channel.active_queues or not channel.qos.can_consume():
            continue
        if time.monotonic() - sent_at > READ_OVERDUE_S:
            return False
    return True
