"""Limit how many reservations one visitor of a page may have waiting: each is a row until it expires.

Redis holds which reservations a network has made, and the database which of them still wait. As with other
limits of visitors, nobody is limited while Redis is down.
"""

import asyncio
from datetime import datetime
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from services.api import metrics
from services.api.errors.problems import Problem
from shared.contracts.keys import visitor_key
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import CALL_TIMEOUT_S
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

RETRY_AFTER_S: Final = 60


class WaitingVisitors:
    """Counts waiting reservations; a process has one. `most` is the limit for one visitor; 0: no limit."""

    def __init__(self, most: int, *, redis: Redis, database: Database) -> None:
        self._most = most
        self._redis = redis
        self._database = database

    async def admit(self, row: SessionRow, network: str, *, now: datetime) -> None:
        """Count a reservation that is about to be written; raises `Problem` if it exceeds the limit."""
        if not self._most:
            return
        key = visitor_key(str(row.api_key_id), network)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                place = await self._enter(key, row, now)
                if place >= self._most:
                    await self._forget_used(key)
                    place = await self._place(key, row)
                if place >= self._most:
                    await self._redis.zrem(key, row.id)
        except (*UNREACHABLE, TimeoutError) as error:
            metrics.limits_not_counted()
            log.warning("reservations_not_counted", error=repr(error))
            return
        if place >= self._most:
            detail = f"{self._most} reservations of this network address wait for their callers; use one"
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            raise Problem(429, "too_many_reservations", detail, headers=headers, retry_after=RETRY_AFTER_S)

    async def _enter(self, key: str, row: SessionRow, now: datetime) -> int:
        """Add the reservation behind those that expire earlier, and return how many of them there are."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(key, "-inf", now.timestamp())
            pipe.zadd(key, {row.id: row.deadline_at.timestamp()})
            pipe.expireat(key, row.deadline_at)
            pipe.zrank(key, row.id)
            *_, place = await pipe.execute()
        return int(place)

    async def _place(self, key: str, row: SessionRow) -> int:
        place: Any = await self._redis.zrank(key, row.id)
        return int(place or 0)

    async def _forget_used(self, key: str) -> None:
        """Remove the reservations whose caller has come.

        One without a row is just being written, and stays.
        """
        entered: Any = await self._redis.zrange(key, 0, self._most - 1)
        used = select(col(SessionRow.id)).where(
            col(SessionRow.id).in_(entered), col(SessionRow.status) != SessionStatus.RESERVED
        )
        async with self._database.read() as db:
            over = list(await db.scalars(used))
        if over:
            await self._redis.zrem(key, *over)
