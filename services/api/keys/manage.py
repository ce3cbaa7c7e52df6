"""Make, list and revoke API keys.

Called by the routes under /v1/keys, and by `python -m services.api.keys`, which needs no key of its own.
A key's secret exists in the answer that makes it, and nowhere else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.auth.access import DEFAULT_PROJECT, Scope
from services.api.auth.key_format import Kind, id_of, make_key
from services.api.auth.roles import SCOPES_OF, AccessRole
from shared.contracts.names import check_name
from shared.core.api_keys.tables import ApiKeyRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database

USUAL_SCOPES: Final = (Scope.SESSIONS_WRITE, Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ)
# The project's name becomes part of room names.
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# Of one project. The oldest revoked or expired keys make room for new ones.
MAX_KEYS: Final = 500


class Refused(Exception):
    """The key can't be made, or does not exist; the message says why. `field` is the bad field."""

    def __init__(self, why: str, *, field: str = "body") -> None:
        super().__init__(why)
        self.field = field


class TooManyKeys(Refused):
    """The project has reached its limit of keys."""


class NoSuchKey(Refused):
    """No key has this id."""


@dataclass(frozen=True)
class NewKey:
    """A key to make. `origins` are those of the web pages that may use a publishable key.

    It has `scopes`, or those of `role`.
    """

    name: str
    project: str = DEFAULT_PROJECT
    kind: Kind = Kind.SECRET
    scopes: tuple[Scope, ...] = ()
    role: AccessRole | None = None
    origins: tuple[str, ...] = ()
    expires_in: timedelta | None = None


async def create_key(database: Database, wanted: NewKey, *, now: Clock) -> tuple[SecretStr, ApiKeyRow]:
    """Make a key. Return its secret, which is stored nowhere, and its row. Raises `Refused`."""
    scopes = _scopes(wanted)
    origins = _origins(wanted)
    if not _PROJECT.fullmatch(wanted.project):
        raise Refused(
            "a project's name has small letters, digits and hyphens, and at most 40 of them", field="project"
        )
    try:
        check_name(wanted.name)
    except ValueError as fault:
        raise Refused(f"a key's name {fault}", field="name") from None
    if wanted.expires_in is not None and wanted.expires_in <= timedelta():
        raise Refused("a key must be valid for some time", field="expires_in_days")
    made, created_at = make_key(wanted.kind), now()
    row = ApiKeyRow(
        id=made.id,
        project=wanted.project,
        kind=wanted.kind,
        name=wanted.name,
        key_hash=made.key_hash,
        scopes=[str(scope) for scope in scopes],
        origins=list(origins),
        created_at=created_at,
        expires_at=created_at + wanted.expires_in if wanted.expires_in else None,
    )
    async with database.write() as db:
        await _make_room(db, wanted.project, now=created_at)
        db.add(row)
    return made.secret, row


async def _make_room(db: AsyncSession, project: str, *, now: datetime) -> None:
    """Delete the project's oldest key that is over, if it has `MAX_KEYS`. Raises `TooManyKeys`."""
    of_project = col(ApiKeyRow.project) == project
    if (await db.scalar(select(func.count()).where(of_project)) or 0) < MAX_KEYS:
        return
    is_over = or_(col(ApiKeyRow.revoked_at).is_not(None), col(ApiKeyRow.expires_at) <= now)
    oldest = select(ApiKeyRow).where(of_project, is_over).order_by(col(ApiKeyRow.created_at)).limit(1)
    over = await db.scalar(oldest)
    if over is None:
        raise TooManyKeys(f"a project has at most {MAX_KEYS} keys; revoke one first")
    await db.delete(over)


def _scopes(wanted: NewKey) -> Sequence[Scope]:
    if wanted.role is not None and (wanted.scopes or wanted.kind is Kind.PUBLISHABLE):
        raise Refused("a role stands for scopes of a secret key: give a role or scopes", field="role")
    if wanted.role is not None:
        return SCOPES_OF[wanted.role]
    if wanted.kind is Kind.SECRET:
        return wanted.scopes or USUAL_SCOPES
    if set(wanted.scopes) - {Scope.TOKENS_RESERVE}:
        raise Refused(f"a publishable key can have the scope {Scope.TOKENS_RESERVE} only", field="scopes")
    return (Scope.TOKENS_RESERVE,)


def _origins(wanted: NewKey) -> Sequence[str]:
    if wanted.kind is Kind.SECRET and wanted.origins:
        why = "origins are for publishable keys: a secret key does not belong in a web page"
        raise Refused(why, field="origins")
    if wanted.kind is Kind.PUBLISHABLE and not wanted.origins:
        why = "a publishable key needs at least one origin, such as https://shop.example.com"
        raise Refused(why, field="origins")
    for origin in wanted.origins:
        parts = urlsplit(origin)
        if origin != f"{parts.scheme}://{parts.netloc}".lower() or parts.scheme not in ("https", "http"):
            why = f"{origin} is not an origin: give scheme and host as a browser sends them, without a path"
            raise Refused(why, field="origins")
    return wanted.origins


async def list_keys(database: Database, *, project: str | None = None) -> list[ApiKeyRow]:
    """Return every key, or those of a project, oldest first, including revoked ones."""
    query = select(ApiKeyRow).order_by(col(ApiKeyRow.created_at), col(ApiKeyRow.id))
    if project is not None:
        query = query.where(col(ApiKeyRow.project) == project)
    async with database.read() as db:
        return list((await db.scalars(query)).all())


async def revoke_key(database: Database, key_id: str, *, now: Clock, project: str | None = None) -> ApiKeyRow:
    """Revoke a key, of this project where one is given; doing it twice changes nothing.

    key_id: its public id, or the whole key. Raises `NoSuchKey`.
    """
    public_id = id_of(key_id) or key_id
    async with database.write() as db:
        # PostgreSQL refuses to even look for a text with NUL in it.
        row = await db.get(ApiKeyRow, public_id) if public_id.isprintable() else None
        if row is None or project not in (None, row.project):
            raise NoSuchKey("there is no key with this id")
        row.revoked_at = row.revoked_at or now()
    return row
