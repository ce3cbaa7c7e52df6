"""Find the principal of a request: look its key up, and remember the row for a moment.

Every replica forgets a row after `REMEMBERED_S`: so long may a revoked key still be accepted. If the database
can't be read, this raises, and nobody is let in.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import or_, select, update
from sqlmodel import col

from services.api.auth.access import Principal, Scope, all_held, key_missing
from services.api.auth.key_format import Kind, hash_key, id_of, is_key
from services.api.errors.problems import Problem
from shared.core.api_keys.tables import ApiKeyRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

REMEMBERED_S: Final = 2.0
_MOST_REMEMBERED: Final = 10_000
# `last_used_at` shows operators whether a key is still in use; a minute more or less does not matter.
USE_NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class _Memory:
    row: "asyncio.Task[ApiKeyRow | None]"
    until: float


class Keyring:
    """Finds the principal of a request; a process has one."""

    def __init__(
        self, database: Database, *, now: Clock, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._now = now
        self._clock = clock
        self._memory: dict[str, _Memory] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self._taken: OrderedDict[str, None] = OrderedDict()

    async def who(self, authorization: str | None, origin: str | None) -> Principal:
        """Return the principal by the request's headers. Raises `Problem`, or one of `DATABASE_ERRORS`."""
        if not authorization:
            raise key_missing()
        key = _key_in(authorization)
        key_id = id_of(key)
        row = await self._look_up(key_id) if key_id else None
        if row is None or not is_key(key, row.key_hash):
            raise _refused(
                "key_unknown", "this is not a key of this deployment: check that you copied all of it"
            )
        # From here on, the caller has proven to have the key, so the answer may say what is wrong with it.
        if over := _is_over(row, self._now()):
            raise over
        asking = _principal(row, origin)
        self._taken[row.key_hash] = None
        self._taken.move_to_end(row.key_hash)
        if len(self._taken) > _MOST_REMEMBERED:
            self._taken.popitem(last=False)
        self._note_use(row)
        return asking

    async def by_id(self, key_id: str, *, login: str) -> Principal:
        """Return the principal of a browser's login with this key. Raises as `who` does."""
        row = await self._look_up(key_id)
        if row is None:
            raise _refused("key_unknown", "the key of this login no longer exists")
        if over := _is_over(row, self._now()):
            raise over
        self._note_use(row)
        return replace(_principal(row, None), login=login)

    async def refused_since(self, asking: Collection[Principal]) -> dict[Principal, Problem]:
        """Return which of these principals would be refused now, and why, read from the database."""
        key_ids = {each.key_id for each in asking if each.key_id is not None}
        if not key_ids:
            return {}
        async with self._database.read() as db:
            found = await db.scalars(select(ApiKeyRow).where(col(ApiKeyRow.id).in_(key_ids)))
            rows = {row.id: row for row in found}
        now = self._now()
        verdicts = {each: _judged_again(each, rows.get(each.key_id), now) for each in asking if each.key_id}
        return {each: problem for each, problem in verdicts.items() if problem is not None}

    def has_taken(self, authorization: str | None) -> bool:
        """Return whether this process has recently accepted the key in this header."""
        return hash_key(_key_in(authorization or "")) in self._taken

    async def _look_up(self, key_id: str) -> ApiKeyRow | None:
        memory = self._memory.get(key_id)
        if memory is None or memory.until <= self._clock():
            if len(self._memory) >= _MOST_REMEMBERED:
                self._memory.clear()
            # All requests meanwhile share one query, which continues if the first of them hangs up.
            memory = _Memory(asyncio.create_task(self._read(key_id)), self._clock() + REMEMBERED_S)
            self._memory[key_id] = memory
        try:
            row = await asyncio.shield(memory.row)
        except BaseException:
            if memory.row.done():
                self._forget(key_id, memory)
            raise
        if row is None:  # made-up ids must not displace real ones
            self._forget(key_id, memory)
        return row

    def _forget(self, key_id: str, memory: _Memory) -> None:
        if self._memory.get(key_id) is memory:
            del self._memory[key_id]

    async def _read(self, key_id: str) -> ApiKeyRow | None:
        async with self._database.read() as db:
            return await db.get(ApiKeyRow, key_id)

    def _note_use(self, row: ApiKeyRow) -> None:
        """Record that the key was used, without making the request wait.

        A failure to record refuses nobody.
        """
        now = self._now()
        if row.last_used_at is not None and row.last_used_at > now - USE_NOTED_EVERY:
            return
        row.last_used_at = now  # set in memory, so that only one of many requests records it
        task = asyncio.create_task(self._write_use(row.id, now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: str, now: datetime) -> None:
        noted = col(ApiKeyRow.last_used_at)
        stale = or_(noted.is_(None), noted <= now - USE_NOTED_EVERY)
        try:
            async with self._database.write() as db:
                await db.execute(
                    update(ApiKeyRow).where(col(ApiKeyRow.id) == key_id, stale).values(last_used_at=now)
                )
        except DATABASE_ERRORS as error:
            log.warning("key_use_not_noted", key_id=key_id, error=repr(error))


def _key_in(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_over(row: ApiKeyRow, now: datetime) -> Problem | None:
    if row.revoked_at is not None:
        return _refused("key_revoked", "this key was revoked; use another")
    if row.expires_at is not None and row.expires_at <= now:
        return _refused("key_expired", f"this key expired at {row.expires_at:%Y-%m-%d %H:%M} UTC")
    return None


def _judged_again(asking: Principal, row: ApiKeyRow | None, now: datetime) -> Problem | None:
    if row is None:
        return _refused("key_unknown", "this key no longer exists")
    held = all_held({Scope(scope) for scope in row.scopes if scope in set(Scope)})
    if row.project != asking.project or not asking.scopes <= held:
        return Problem(403, "scope_missing", "this key has lost the scope that this stream needs")
    return _is_over(row, now)


def _principal(row: ApiKeyRow, origin: str | None) -> Principal:
    publishable = row.kind == Kind.PUBLISHABLE
    if publishable and origin not in row.origins:
        raise Problem(
            403, "origin_not_allowed", "this publishable key may not be used from this origin", origin=origin
        )
    scopes = all_held({Scope(scope) for scope in row.scopes if scope in set(Scope)})
    if publishable:
        scopes &= {Scope.TOKENS_RESERVE}
    return Principal(project=row.project, scopes=scopes, key_id=row.id, publishable=publishable)


def _refused(code: str, detail: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="rollcall", error="invalid_token"'}
    return Problem(401, code, detail, headers=headers)
