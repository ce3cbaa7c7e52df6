"""Make, list and revoke API keys on the database: `python -m services.api.keys create --name shop`.

It makes the first key, for which no other key is needed: anyone who can write to the database can do
everything anyway. `rollcall keys` runs this program.
"""

import argparse
import asyncio
import getpass
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from services.api.audit.trail import Via, note_act
from services.api.auth.access import DEFAULT_PROJECT, Scope
from services.api.auth.key_format import Kind
from services.api.auth.roles import AccessRole
from services.api.keys.manage import NewKey, Refused, create_key, list_keys, revoke_key
from services.api.keys.schemas import ApiKey
from shared.contracts.settings import DatabaseSettings
from shared.core.api_keys.tables import ApiKeyRow
from shared.platform.clock import utc_now
from shared.platform.config import load_settings
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, fault_of

EXIT_REFUSED: Final = 1


def as_json(row: ApiKeyRow) -> dict[str, Any]:
    """Return the data of a key that may be shown."""
    return ApiKey.of(row).model_dump(mode="json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.api.keys", description="API keys, as JSON.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key; it is shown only this once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--project", default=DEFAULT_PROJECT)
    create.add_argument("--publishable", action="store_true", help="for web pages: may only reserve tokens")
    create.add_argument("--scope", action="append", default=[], type=Scope, choices=list(Scope))
    create.add_argument(
        "--role", default=None, type=AccessRole, choices=list(AccessRole), help="instead of scopes"
    )
    create.add_argument("--origin", action="append", default=[], help="origin of a page that may use it")
    create.add_argument("--expires-in-days", type=float, default=None)
    commands.add_parser("list", help="every key").add_argument("--project", default=None)
    commands.add_parser("revoke", help="revoke a key; it stops working within seconds").add_argument("id")
    return parser


async def _run(arguments: argparse.Namespace, database: Database) -> dict[str, Any]:
    if arguments.command == "list":
        return {"keys": [as_json(row) for row in await list_keys(database, project=arguments.project)]}
    if arguments.command == "revoke":
        row = await revoke_key(database, arguments.id, now=utc_now)
        await _note(database, "key.revoke", row)
        return as_json(row)
    days = arguments.expires_in_days
    wanted = NewKey(
        name=arguments.name,
        project=arguments.project,
        kind=Kind.PUBLISHABLE if arguments.publishable else Kind.SECRET,
        scopes=tuple(arguments.scope),
        role=arguments.role,
        origins=tuple(arguments.origin),
        expires_in=None if days is None else timedelta(days=days),
    )
    secret, row = await create_key(database, wanted, now=utc_now)
    await _note(database, "key.create", row)
    return {"key": secret.get_secret_value(), **as_json(row)}


async def _note(database: Database, action: str, row: ApiKeyRow) -> None:
    """Note in the audit trail what the user of this machine has done."""
    await note_act(
        database,
        action,
        project=row.project,
        via=Via.COMMAND_LINE,
        actor=_user(),
        target=row.id,
        at=utc_now(),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


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
