"""Let browsers in by a cookie that was exchanged for an API key.

A login is a row with a hash of the cookie. It has its key's rights, and ends with its key, 12 hours after its
last request, 7 days after it began, or when the browser logs out.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlmodel import col

from services.api.auth.access import Principal
from services.api.auth.keyring import Keyring
from services.api.errors.problems import Problem
from shared.core.api_keys.tables import ConsoleLoginRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

IDLE: Final = timedelta(hours=12)
LONGEST: Final = timedelta(days=7)
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_MOST_REMEMBERED: Final = 10_000


class Logins:
    """The browsers that are let in; a process has one."""

    def __init__(self, database: Database, keyring: Keyring, *, now: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._now = now
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._notes: set[asyncio.Task[None]] = set()

    async def begin(self, key_id: str) -> str:
        """Return the cookie of a new login, which is stored nowhere."""
        cookie, now = secrets.token_urlsafe(32), self._now()
        row = ConsoleLoginRow(id_hash=hash_cookie(cookie), key_id=key_id, created_at=now, last_used_at=now)
        async with self._database.write() as db:
            db.add(row)
        return cookie

    async def end(self, login: str) -> None:
        """End a login, so that its cookie is refused everywhere; to repeat it is no error."""
        async with self._database.write() as db:
            await db.execute(delete(ConsoleLoginRow).where(col(ConsoleLoginRow.id_hash) == login))

    async def who(self, cookie: str) -> Principal:
        """Return the principal by a cookie. Raises `Problem`, or one of `DATABASE_ERRORS`."""
        login, now = hash_cookie(cookie), self._now()
        async with self._database.read() as db:
            row = await db.get(ConsoleLoginRow, login)
        if row is None or _is_over(row, now):
            raise _login_over()
        asking = await self._keyring.by_id(row.key_id, login=login)
        self._taken[login] = None
        self._taken.move_to_end(login)
        if len(self._taken) > _MOST_REMEMBERED:
            self._taken.popitem(last=False)
        self._note_use(row, now)
        return asking

    def has_taken(self, cookie: str) -> bool:
        """Return whether this process has recently let this cookie in."""
        return hash_cookie(cookie) in self._taken

    async def refused_since(self, asking: Collection[Principal]) -> Mapping[Principal, Problem]:
        """Return which of these principals would be refused now, by their key or their login."""
        refused = await self._keyring.refused_since(asking)
        logins = {each.login for each in asking if each.login is not None}
        if not logins:
            return refused
        async with self._database.read() as db:
            rows = list(
                await db.scalars(select(ConsoleLoginRow).where(col(ConsoleLoginRow.id_hash).in_(logins)))
            )
        now = self._now()
        going_on = {row.id_hash for row in rows if not _is_over(row, now)}
        over = {each: _login_over() for each in asking if each.login and each.login not in going_on}
        return {**over, **refused}

    def _note_use(self, row: ConsoleLoginRow, now: datetime) -> None:
        if row.last_used_at > now - USE_NOTED_EVERY:
            return
        task = asyncio.create_task(self._write_use(row.id_hash, now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, login: str, now: datetime) -> None:
        used = col(ConsoleLoginRow.last_used_at)
        noted = update(ConsoleLoginRow).where(col(ConsoleLoginRow.id_hash) == login, used < now)
        try:
            async with self._database.write() as db:
                await db.execute(noted.values(last_used_at=now))
        except DATABASE_ERRORS as error:
            log.warning("login_use_not_noted", error=repr(error))


def hash_cookie(cookie: str) -> str:
    """Return the hash that is stored. A cookie is random, so a slow hash would protect nothing more."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def _is_over(row: ConsoleLoginRow, now: datetime) -> bool:
    return row.last_used_at <= now - IDLE or row.created_at <= now - LONGEST


def _login_over() -> Problem:
    return Problem(401, "login_over", "you are logged out; log in with an API key again")
