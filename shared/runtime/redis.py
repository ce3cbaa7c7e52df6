"""Redis clients whose every call ends within a bound."""

from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

# A frozen server must not hold a caller for long; what could not be sent is sent by the sweep.
CALL_TIMEOUT_S = 2.0
# A crowd waits for its turn. A pool that does not wait refuses the 101st call at once, which then looks
# as if the server were away.
MOST_CONNECTIONS: Final = 50


def connect_redis(url: str, *, timeout_s: float = CALL_TIMEOUT_S) -> "Redis":
    """Return a client of the server at `url`; it connects at the first call.

    Raises `redis.exceptions.RedisError` or `OSError` from the calls, each at most `timeout_s` after it has
    a connection. While all are taken it waits for one, as long again.
    Blocking reads must block for less than `timeout_s`.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=timeout_s,
        decode_responses=True,
        # Bytes that are no text must not stop who reads a stream; they are found malformed, if anything.
        encoding_errors="replace",
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=15,
        # One immediate second try: a pooled connection may have died with the last server. Not after a
        # timeout, though: the caller has waited long enough.
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    )
    return Redis.from_pool(pool)
