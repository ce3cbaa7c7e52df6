"""Make, list and revoke API keys: `python -m services.api.keys create --name shop`.

It works on the database itself, so it needs no key to make the first one: anyone who can write to the
database can do everything anyway. `rollcall keys` runs it.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import select
from sqlmodel import col

from services.api.auth.access import DEFAULT_PROJECT, Scope
from services.api.auth.key_format import Kind, id_of, make_key
from shared.contracts.names import check_name
from shared.contracts.settings import DatabaseSettings
from shared.core.api_keys.tables import ApiKeyRow
from shared.platform.clock import Clock, utc_now
from shared.platform.config import load_settings
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, fault_of

USUAL_SCOPES: Final = (Scope.SESSIONS_WRITE, Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ)
# The project's name becomes part of room names.
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
EXIT_REFUSED: Final = 1


class Refused(Exception):
    """The command can't be carried out; the message says why."""


@dataclass(frozen=True)
class NewKey:
    """The properties of a new key. `origins` are those of the web pages that may use a publishable key."""

    name: str
    project: str = DEFAULT_PROJECT
    kind: Kind = Kind.SECRET
    scopes: tuple[Scope, ...] = ()
    origins: tuple[str, ...] = ()
    expires_in: timedelta | None = None


async def create_key(database: Database, wanted: NewKey, *, now: Clock) -> tuple[SecretStr, ApiKeyRow]:
    """Make a key. Its secret is not stored anywhere. Raises `Refused`."""
    scopes = _scopes(wanted)
    origins = _origins(wanted)
    if not _PROJECT.fullmatch(wanted.project):
        raise Refused("a project's name has small letters, digits and hyphens, and at most 40 of them")
    try:
        check_name(wanted.name)
    except ValueError as fault:
        raise Refused(f"a key's name {fault}") from None
    if wanted.expires_in is not None and wanted.expires_in <= timedelta():
        raise Refused("a key must be valid for some time")
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
        db.add(row)
    return made.secret, row


def _scopes(wanted: NewKey) -> Sequence[Scope]:
    if wanted.kind is Kind.SECRET:
        return wanted.scopes or USUAL_SCOPES
    if set(wanted.scopes) - {Scope.TOKENS_RESERVE}:
        raise Refused(f"a publishable key can have the scope {Scope.TOKENS_RESERVE} only")
    return (Scope.TOKENS_RESERVE,)


def _origins(wanted: NewKey) -> Sequence[str]:
    if wanted.kind is Kind.SECRET and wanted.origins:
        raise Refused("origins are for publishable keys: a secret key does not belong in a web page")
    if wanted.kind is Kind.PUBLISHABLE and not wanted.origins:
        raise Refused("a publishable key needs at least one origin, such as https://shop.example.com")
    for origin in wanted.origins:
        parts = urlsplit(origin)
        if origin != f"{parts.scheme}://{parts.netloc}".lower() or parts.scheme not in ("https", "http"):
            raise Refused(
                f"{origin} is not an origin: give scheme and host as a browser sends them, without a path"
            )
    return wanted.origins


async def list_keys(database: Database, *, project: str | None = None) -> list[ApiKeyRow]:
    """Return every key, or those of a project, oldest first, including revoked ones."""
    query = select(ApiKeyRow).order_by(col(ApiKeyRow.created_at), col(ApiKeyRow.id))
    if project is not None:
        query = query.where(col(ApiKeyRow.project) == project)
    async with database.read() as db:
        return list((await db.scalars(query)).all())


async def revoke_key(database: Database, key_id: str, *, now: Clock) -> ApiKeyRow:
    """Revoke a key, given by its id or as a whole; doing it twice changes nothing. Raises `Refused`."""
    async with database.write() as db:
        row = await db.get(ApiKeyRow, id_of(key_id) or key_id)
        if row is None:
            raise Refused("there is no key with this id")
        row.revoked_at = row.revoked_at or now()
    return row


def describe(row: ApiKeyRow) -> dict[str, Any]:
    """Return the data of a key that may be shown."""

    def time(moment: datetime | None) -> str | None:
        return moment.isoformat().replace("+00:00", "Z") if moment else None

    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "kind": row.kind,
        "scopes": row.scopes,
        "origins": row.origins,
        "created_at": time(row.created_at),
        "expires_at": time(row.expires_at),
        "revoked_at": time(row.revoked_at),
        "last_used_at": time(row.last_used_at),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.api.keys", description="API keys, as JSON.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key; it is shown only this once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--project", default=DEFAULT_PROJECT)
    create.add_argument("--publishable", action="store_true", help="for web pages: may only reserve tokens")
    create.add_argument("--scope", action="append", default=[], type=Scope, choices=list(Scope))
    create.add_argument("--origin", action="append", default=[], help="origin of a page that may use it")
    create.add_argument("--expires-in-days", type=float, default=None)
    commands.add_parser("list", help="every key").add_argument("--project", default=None)
    commands.add_parser("revoke", help="revoke a key; it stops working within seconds").add_argument("id")
    return parser


async def _run(arguments: argparse.Namespace, database: Database) -> dict[str, Any]:
    if arguments.command == "list":
        return {"keys": [describe(row) for row in await list_keys(database, project=arguments.project)]}
    if arguments.command == "revoke":
        return describe(await revoke_key(database, arguments.id, now=utc_now))
    days = arguments.expires_in_days
    wanted = NewKey(
        name=arguments.name,
        project=arguments.project,
        kind=Kind.PUBLISHABLE if arguments.publishable else Kind.SECRET,
        scopes=tuple(arguments.scope),
        origins=tuple(arguments.origin),
        expires_in=None if days is None else timedelta(days=days),
    )
    secret, row = await create_key(database, wanted, now=utc_now)
    return {"key": secret.get_secret_value(), **describe(row)}


async def _main(arguments: argparse.Namespace) -> dict[str, Any]:
    database = Database(load_settings(DatabaseSettings).database_url)
    try:
        return await _run(arguments, database)
    finally:
        await database.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and print the result as JSON; return 1 if it can't be done."""
    try:
        outcome = asyncio.run(_main(_parser().parse_args(arguments)))
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
    except (*DATABASE_ERRORS, OverflowError) as error:
        sys.stderr.write(f"the keys can't be reached: {fault_of(error)}\n")
    else:
        sys.stdout.write(json.dumps(outcome, ensure_ascii=False) + "\n")
        return 0
    return EXIT_REFUSED


if __name__ == "__main__":
    raise SystemExit(main())
