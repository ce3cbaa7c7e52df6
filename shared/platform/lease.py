"""Leases in the database: which of several processes does a piece of housekeeping, and until when."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from sqlalchemy import String, bindparam, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel, col

from shared.platform.background import finish
from shared.platform.clock import Clock
from shared.platform.database.columns import UtcDateTime, table_of
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, is_unique_violation
from shared.platform.logs.logs import get_logger

# A process that stops waits no longer than this for a silent database; the lease then expires by itself.
GIVE_BACK_S = 1.0

log = get_logger(__name__)


class LeaseRow(SQLModel, table=True):
    """Which process may do a piece of housekeeping, and until when."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    expires_at: datetime = Field(sa_type=UtcDateTime)


# Built once: every process asks for its leases again and again.
_OLD: Final = table_of(LeaseRow).c
_BY: Final = bindparam("by", type_=String)
_FREE: Final = _OLD.expires_at <= bindparam("now", type_=UtcDateTime)
_LEASE: Final = (
    update(table_of(LeaseRow))
    .where(_OLD.name == bindparam("of_name"))
    .values(holder=_BY, expires_at=bindparam("until", type_=UtcDateTime))
)
_TAKE: Final = _LEASE.where(_FREE)
_KEEP: Final = _LEASE.where(or_(_OLD.holder == _BY, _FREE))


class Lease:
    """A lease that one `holder` at a time holds. It expires by itself `term` after it was last taken.

    Used with `async with`, it is given back at the end of the block, so that another process takes over at
    once.
    """

    def __init__(self, database: Database, *, name: str, holder: str, term: timedelta, now: Clock) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._term = term
        self._now = now
        self._held_until: datetime | None = None

    async def __aenter__(self) -> Self:
        """Begin the block. The lease is taken by `hold`, not here."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lease back, even if it was just being taken."""
        await finish(self._give_back())

    async def hold(self) -> bool:
        """Take or keep the lease. The database is asked only after half of the term."""
        now = self._now()
        if self._held_until is not None and self._held_until - now > self._term / 2:
            return True
        self._held_until = now + self._term if await self._take(now, renew=True) else None
        return self._held_until is not None

    async def take_once(self) -> bool:
        """Take the lease only if it has expired: so one process takes it, once a term."""
        return await self._take(self._now(), renew=False)

    async def _give_back(self) -> None:
        self._held_until = None
        mine = update(LeaseRow).where(col(LeaseRow.name) == self._name, col(LeaseRow.holder) == self._holder)
        try:
            async with asyncio.timeout(GIVE_BACK_S), self._database.write() as db:
                await db.execute(mine.values(expires_at=self._now()))
        except DATABASE_ERRORS as error:
            log.warning("lease_not_given_back", lease=self._name, error=repr(error))

    async def _take(self, now: datetime, *, renew: bool) -> bool:
        until = now + self._term
        these = {"of_name": self._name, "by": self._holder, "now": now, "until": until}
        if await self._database.change(_KEEP if renew else _TAKE, these):
            return True
        try:
            async with self._database.write() as db:
                if await db.get(LeaseRow, self._name) is not None:
                    return False
                db.add(LeaseRow(name=self._name, holder=self._holder, expires_at=until))
        except IntegrityError as error:
            if not is_unique_violation(error):
                raise
            return False  # another process wrote the first lease at the same moment
        return True


async def every(
    interval_s: float,
    work: Callable[[], Awaitable[bool | None]],
    *,
    lease: Lease,
    note: Callable[[Exception], object],
    of: tuple[type[Exception], ...] = DATABASE_ERRORS,
    otherwise: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Do `work` repeatedly while this process holds the lease, until the task is cancelled.

    1. Take or keep the lease.
    2. If this process holds it, do `work`; if not, do `otherwise`.
    3. Pass errors of the types `of` to `note`, and try again in the next round. Raise all other errors.
    4. Wait `interval_s` seconds. Do not wait if `work` returned True, which means that there is more to do.

    However this ends, it gives the lease back, so that another process takes over at once.
    """
    async with lease:
        while True:
            more = False
            try:
                if await lease.hold():
                    more = await work() is True
                elif otherwise is not None:
                    await otherwise()
            except of as error:
                note(error)
            await asyncio.sleep(0 if more else interval_s)
