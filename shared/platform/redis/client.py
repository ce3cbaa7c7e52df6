"""Redis clients with a time limit for every call."""

from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

from shared.contracts.redis_url import RedisUrl, Tls, read_redis_url

# A frozen server must not block a caller for long; the sweep sends what could not be sent.
CALL_TIMEOUT_S = 2.0
# Calls wait for a free connection. A pool without waiting refuses the 101st call at once, as if the server
# were down.
MOST_CONNECTIONS: Final = 50


def connect_redis(url: str, *, timeout_s: float = CALL_TIMEOUT_S) -> "Redis":
    """Return a client of the server at `url`; it connects at the first call.

    Calls raise `redis.exceptions.RedisError` or `OSError`, at most `timeout_s` after they get a connection,
    or after the URL's own limit if that is longer. While all connections are taken, a call waits for one, up
    to the same time again. Blocking reads must block for less than `timeout_s`. Raises `ValueError` for an
    invalid URL.
    """
    server = read_redis_url(url)
    pool = BlockingConnectionPool(
        max_connections=MOST_CONNECTIONS,
        timeout=timeout_s,
        decode_responses=True,
        # Bytes that are not text must not stop a stream's reader, which sets malformed entries aside.
        encoding_errors="replace",
        username=server.username,
        password=server.password,
        db=server.db,
        client_name=server.client_name,
        socket_timeout=max(timeout_s, server.socket_timeout_s or 0),
        socket_connect_timeout=server.socket_connect_timeout_s or timeout_s,
        health_check_interval=server.health_check_interval_s or 15,
        # One immediate second try: a pooled connection may have died with the last server. There is none
        # after a timeout: the caller has waited long enough.
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        **_address(server),
    )
    return Redis.from_pool(pool)


def tls_options(tls: Tls) -> dict[str, Any]:
    """Return the TLS options under redis-py's and kombu's names.

    Without `ssl_ca_certs`, the system's authorities are trusted.
    """
    return {
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.check_hostname,
        "ssl_ca_certs": tls.ca_certs,
        "ssl_certfile": tls.certfile,
        "ssl_keyfile": tls.keyfile,
    }


def _address(server: RedisUrl) -> dict[str, Any]:
    if server.path is not None:
        return {"connection_class": UnixDomainSocketConnection, "path": server.path}
    kind: type[AbstractConnection] = Connection if server.tls is None else SSLConnection
    encrypted = {} if server.tls is None else tls_options(server.tls)
    there = {"host": server.host, "port": server.port, "socket_keepalive": True}
    return {"connection_class": kind, **there, **encrypted}
