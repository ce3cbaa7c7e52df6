"""Idempotency-Key: a request that is sent twice has one effect.

It follows draft-ietf-httpapi-idempotency-key-header-07. The key is written in the same transaction as the
session, so that no crash can separate them. The answer is stored with the key, but without the token: each
answer gets a new token, which is never stored.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, delete, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.sessions.start import First
from shared.core.sessions.tables import IdempotencyKeyRow, SessionRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database, changed
from shared.platform.database.insert import insert_into

REPLAYED: Final = "Idempotency-Replayed"
# If an answer is overdue for this long, its process is dead and the answer will not come.
GRACE: Final = timedelta(seconds=10)
LONGEST_RETRY_AFTER_S: Final = 5

# A string of structured fields (RFC 9651), as in the draft, or bare, as most clients send it.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE: Final = re.compile(r"[!#-\[\]-~]{1,255}")


@dataclass(frozen=True)
class Key:
    """A key of one project and one route, and the fingerprint of its request."""

    project: str
    route: str
    key: str
    fingerprint: str

    def is_of(self) -> ColumnElement[bool]:
        """Return the condition for this key's row."""
        return and_(
            col(IdempotencyKeyRow.project) == self.project,
            col(IdempotencyKeyRow.route) == self.route,
            col(IdempotencyKeyRow.key) == self.key,
        )


class SeenBefore(Exception):
    """An earlier request used the key; `row` is its row."""

    def __init__(self, row: IdempotencyKeyRow) -> None:
        super().__init__()
        self.row = row


def read_key(headers: list[str], wanted: BaseModel, *, project: str, route: str) -> Key | None:
    """Return the key of a request; None if it has none. Raises `Problem` if it is malformed."""
    if not headers:
        return None
    if len(headers) > 1:
        raise _malformed("send one Idempotency-Key, not several")
    text = headers[0].strip()
    if found := _QUOTED.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", found[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise _malformed('an Idempotency-Key is 1 to 255 printable ASCII characters, best in quotes: "8e03…"')
    # A field that is absent and a field with its default ask for the same.
    asked = json.dumps(wanted.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return Key(project, route, key, hashlib.sha256(asked.encode()).hexdigest())


def _malformed(detail: str) -> Problem:
    return Problem(400, "idempotency_key_malformed", detail)


def check_replayable(row: IdempotencyKeyRow, key: Key, now: datetime) -> None:
    """Raise `Problem` if the key was used for another request, or its first one is not answered yet."""
    if row.fingerprint != key.fingerprint:
        detail = (
            "an earlier request with this Idempotency-Key had another body; use a new key for a new request"
        )
        raise Problem(422, "idempotency_key_reused", detail, session_id=row.session_id)
    if row.running_until is not None and row.running_until > now:
        left_s = math.ceil((row.running_until - now).total_seconds())
        raise Problem(
            409,
            "idempotency_key_in_use",
            "the first request with this Idempotency-Key is still being answered; send it again in a moment",
            headers={"Retry-After": str(min(left_s, LONGEST_RETRY_AFTER_S))},
            session_id=row.session_id,
        )


class Keys:
    """The keys that the database remembers."""

    def __init__(self, database: Database, *, ttl_s: float, now: Clock) -> None:
        self._database = database
        self._ttl = timedelta(seconds=ttl_s)
        self._now = now

    async def find_earlier(self, key: Key) -> IdempotencyKeyRow | None:
        """Return the key's row; None if the key is new, or its row was deleted."""
        async with self._database.read() as db:
            row = await _get(db, key)
        return None if row is None or row.expires_at <= self._now() else row

    def claim(self, key: Key, wait_s: int | None) -> First:
        """Return a function that writes the key in the session's transaction.

        That function raises `SeenBefore`. `wait_s` is how long the answer may take; None for a plain start,
        whose answer is known at once.
        """

        async def write(db: AsyncSession, session: SessionRow) -> None:
            now = self._now()
            await db.execute(
                delete(IdempotencyKeyRow).where(key.is_of(), col(IdempotencyKeyRow.expires_at) <= now)
            )
            made = insert_into(db, IdempotencyKeyRow).values(
                project=key.project,
                route=key.route,
                key=key.key,
                fingerprint=key.fingerprint,
                session_id=session.id,
                status=202 if wait_s is None else None,
                running_until=None if wait_s is None else now + timedelta(seconds=wait_s) + GRACE,
                expires_at=now + self._ttl,
            )
            # The database makes a second request wait until the first one commits or rolls back.
            if not await changed(db, made.on_conflict_do_nothing()):
                raise SeenBefore(await _get_one(db, key))

        return write

    async def keep(self, key: Key, status: int, answer: dict[str, Any]) -> None:
        """Store the answer."""
        answered = update(IdempotencyKeyRow).where(key.is_of())
        async with self._database.write() as db:
            await db.execute(answered.values(status=status, answer=answer, running_until=None))


async def _get(db: AsyncSession, key: Key) -> IdempotencyKeyRow | None:
    return await db.get(IdempotencyKeyRow, (key.project, key.route, key.key))


async def _get_one(db: AsyncSession, key: Key) -> IdempotencyKeyRow:
    row = await db.get_one(IdempotencyKeyRow, (key.project, key.route, key.key))
    db.expunge(row)  # otherwise the end of this transaction would expire the row's attributes
    return row
