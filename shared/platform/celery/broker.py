"""How Celery reaches its broker.

Every call has a time limit, and a lost connection is dropped without waiting. Where kombu (5.7) and py-amqp
have options, these are set. Where they have none, their methods are overridden.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.exceptions import KombuError, OperationalError
from kombu.transport import redis as kombu_redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.contracts.broker_url import is_amqp, read_amqp_url, without_options
from shared.contracts.redis_url import Tls, read_redis_url
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import tls_options

log = get_logger(__name__)

CALL_TIMEOUT_S: Final = 2
# The timeout for closing a connection that is lost anyway.
GOODBYE_TIMEOUT_S: Final = 0.5
# A broker that is silent for twice as long counts as gone. RabbitMQ advises against less than 5 s, because
# false alarms are costly. Here a false alarm costs a second delivery, which the claim of the row makes
# harmless.
HEARTBEAT_S: Final = 2

_RETRY_INTERVALS: Final = {"interval_start": 0.2, "interval_step": 0.5, "interval_max": 2}

_REDIS_OPTIONS: Final[Mapping[str, Any]] = {
    # No task runs longer than a join budget, and the sweep is faster than this anyway.
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": CALL_TIMEOUT_S,
    "socket_connect_timeout": CALL_TIMEOUT_S,
    "socket_keepalive": True,
    # Also how often kombu checks whether the answer to its blocking read (1 s) is overdue.
    "health_check_interval": HEARTBEAT_S,
    # For a producer. The sweep enqueues what the producer can't send.
    "max_retries": 0,
}

_AMQP_OPTIONS: Final[Mapping[str, Any]] = {
    "read_timeout": CALL_TIMEOUT_S,
    "write_timeout": CALL_TIMEOUT_S,
    # Without it, a message that the broker never took looks as if it were sent.
    "confirm_publish": True,
    "max_retries": 0,
}


def transport_options(broker_url: str) -> dict[str, Any]:
    """Return the options of every connection to this broker."""
    if is_amqp(broker_url):
        return dict(_AMQP_OPTIONS)
    server = read_redis_url(broker_url)
    said = {
        "socket_timeout": max(CALL_TIMEOUT_S, server.socket_timeout_s or 0),
        "socket_connect_timeout": server.socket_connect_timeout_s,
        "health_check_interval": server.health_check_interval_s,
        "client_name": server.client_name,
    }
    return {**_REDIS_OPTIONS, **{name: value for name, value in said.items() if value is not None}}


def broker_address(broker_url: str) -> dict[str, Any]:
    """Return Celery's settings for the broker's address and TLS; raises `ValueError` for an invalid URL.

    Without these settings, kombu accepts any certificate of a Redis, and ignores some options of the URL.
    """
    if is_amqp(broker_url):
        node, tls = read_amqp_url(broker_url)
        checks = None if tls is None else _amqp_tls(tls, node.hosts[0][0])
        return {"broker_url": without_options(broker_url), "broker_use_ssl": checks}
    server = read_redis_url(broker_url)
    encrypted = None if server.tls is None else tls_options(server.tls)
    return {"broker_url": server.kombu_url, "broker_use_ssl": encrypted}


def _amqp_tls(tls: Tls, host: str) -> dict[str, Any]:
    """Return the TLS settings under py-amqp's names."""
    said = {
        "cert_reqs": ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE,
        "server_hostname": host if tls.check_hostname else None,
        "ca_certs": tls.ca_certs,
        "certfile": tls.certfile,
        "keyfile": tls.keyfile,
    }
    return {name: value for name, value in said.items() if value is not None}


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise py-amqp's errors, which have no base class of their own, as kombu's `OperationalError`."""
    try:
        yield
    except (KombuError, RedisError, OSError):
        raise
    except Exception as error:
        raise OperationalError(repr(error)) from error


_Channel: Any = kombu_redis.Channel  # its stubs know few of its methods


class _RedisChannel(_Channel):  # type: ignore[misc]
    """A channel that says that it is closed.

    kombu's raises an AttributeError then, which ends the Celery worker.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("this channel's connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        # One immediate second try, as in `connect_redis`; redis-py itself makes 3, with growing pauses.
        return {**parameters, "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))}

    def abandon(self) -> None:
        """Give the connection up. Wait for nothing, except once to put unacknowledged messages back."""
        self._in_poll = None
        self.auto_delete_queues.clear()
        self._disconnect_pools()
        self.socket_timeout = self.socket_connect_timeout = GOODBYE_TIMEOUT_S


class _RedisTransport(kombu_redis.Transport):
    Channel = _RedisChannel


_TRANSPORTS: Final[Mapping[type, type]] = {kombu_redis.Transport: _RedisTransport}


class BrokerConnection(Connection):
    """A connection that returns within seconds of its broker's return: a session has 15 s in all."""

    _transport: Any

    def get_transport_cls(self) -> type:
        """Return our transport for Redis, otherwise kombu's."""
        transport: type = super().get_transport_cls()
        return _TRANSPORTS.get(transport, transport)

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        # Celery's own pauses grow to 30 s, and no setting of Celery changes that.
        return super()._ensure_connection(*args, **{**options, **_RETRY_INTERVALS})

    def let_go(self) -> None:
        """Close a lost connection. Raises nothing, and takes at most a second or two.

        If the server can still be reached, messages that were not acknowledged are put back.
        """
        try:
            self._abandon()
            self.collect(socket_timeout=GOODBYE_TIMEOUT_S)
            self.close()
        except Exception as error:  # errors while closing a broken connection don't matter
            log.debug("broker_connection_not_closed", error=repr(error))

    def _abandon(self) -> None:
        for channel in list(getattr(self._transport, "channels", None) or ()):
            if isinstance(channel, _RedisChannel):
                channel.abandon()


class BrokerAmqp(AMQP):
    """Makes Celery use our connections."""

    Connection = BrokerConnection
