"""Limits of keys and projects: requests in a minute, and sessions at the same time.

Requests are counted in Redis, so all replicas count together. While Redis is down, nobody is limited: limits
protect money, and sessions are accepted without Redis. Sessions are counted in the database
(`shared.core.sessions.limits`).
"""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession

from services.api import metrics
from services.api.auth.access import Principal
from services.api.errors.problems import Problem
from services.api.settings import ApiSettings
from shared.contracts.keys import LIMIT_PREFIX
from shared.core.sessions.limits import find_exceeded
from shared.platform.breaker import Breaker
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import CALL_TIMEOUT_S
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

# A Redis that takes longer counts as down. The time must not be shorter: otherwise a crowd that keeps this
# process busy would look like a slow Redis, and get past the limit.
PATIENCE_S: Final = CALL_TIMEOUT_S
_WINDOW_S: Final = 60
# An estimate, since nobody knows when a session will end.
SESSIONS_RETRY_AFTER_S: Final = 10


@dataclass(frozen=True)
class _Limit:
    name: str
    item: RateLimitItemPerMinute
    of: str


class RateLimits:
    """Counts requests over a moving minute; a process has one."""

    def __init__(self, settings: ApiSettings, redis: Redis) -> None:
        self._settings = settings
        # The client's own connections, so that its timeouts apply here too.
        options: dict[str, object] = {"connection_pool": redis.connection_pool}
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=LIMIT_PREFIX,
            **options,  # type: ignore[arg-type]  # a pool is documented, and not in the annotation
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._breaker = Breaker()

    async def check(self, asking: Principal, network: str) -> None:
        """Count a request from this network (`network_of`); raises `Problem` if it exceeds a limit."""
        limits = self._limits_of(asking, network)
        if not limits or not self._breaker.lets_through():
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                exceeded = await self._first_exceeded(limits)
                wait_s = await self._wait_s(exceeded) if exceeded else 0
        except (*UNREACHABLE, TimeoutError) as error:
            self._breaker.failed(began=began)
            metrics.limits_not_counted()
            log.warning("rate_limits_not_counted", error=repr(error))
            return
        self._breaker.succeeded()
        if exceeded:
            raise _too_many(exceeded, limits, wait_s)

    def _limits_of(self, asking: Principal, network: str) -> list[_Limit]:
        if asking.key_id is None:
            return []
        settings = self._settings
        found = [
            ("key", settings.requests_per_minute_key, asking.key_id),
            ("project", settings.requests_per_minute_project, asking.project),
        ]
        if asking.publishable:  # one visitor of a page must not use up the limit that all of them share
            found.insert(0, ("visitor", settings.requests_per_minute_visitor, f"{asking.key_id}:{network}"))
        return [_Limit(name, RateLimitItemPerMinute(amount), of) for name, amount, of in found if amount]

    async def _first_exceeded(self, limits: list[_Limit]) -> _Limit | None:
        for limit in limits:
            if not await self._limiter.hit(limit.item, limit.name, limit.of):
                return limit
        return None

    async def _wait_s(self, limit: _Limit) -> int:
        stats = await self._limiter.get_window_stats(limit.item, limit.name, limit.of)
        return min(_WINDOW_S, max(1, math.ceil(stats.reset_time - time.time())))


def _too_many(exceeded: _Limit, limits: list[_Limit], wait_s: int) -> Problem:
    policy = ", ".join(f'"{limit.name}";q={limit.item.amount};w={_WINDOW_S}' for limit in limits)
    headers = {
        "Retry-After": str(wait_s),
        "RateLimit-Policy": policy,
        "RateLimit": f'"{exceeded.name}";r=0;t={wait_s}',
    }
    detail = f"at most {exceeded.item.amount} requests a minute of one {exceeded.name}; try in {wait_s} s"
    return Problem(429, "too_many_requests", detail, headers=headers, retry_after=wait_s)


async def check_sessions(db: AsyncSession, asking: Principal, settings: ApiSettings) -> None:
    """Raise `Problem` if the project or the key has reached its limit of live sessions.

    Call it in the transaction that writes the next session; see `find_exceeded`.
    """
    exceeded = await find_exceeded(db, project=asking.project, key_id=asking.key_id, limits=settings)
    if exceeded is not None:
        raise Problem(
            429,
            "too_many_sessions",
            f"this {exceeded.of} has {exceeded.most} sessions that have not ended, and may have no more; "
            "end one",
            headers={"Retry-After": str(SESSIONS_RETRY_AFTER_S)},
            retry_after=SESSIONS_RETRY_AFTER_S,
        )
