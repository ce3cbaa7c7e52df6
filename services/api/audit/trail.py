"""Write to the audit trail."""

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import insert

from shared.contracts.identifiers import new_id
from shared.core.audit.tables import AuditRow
from shared.platform.database.columns import table_of
from shared.platform.database.database import Database

_INSERT: Final = insert(table_of(AuditRow))


class Via(StrEnum):
    """How somebody did something."""

    API = "api"  # with an API key in the request
    CONSOLE = "console"  # in a browser
    COMMAND_LINE = "command_line"  # on the database itself


async def note_act(
    database: Database,
    action: str,
    *,
    project: str,
    via: Via,
    actor: str | None,
    target: str | None,
    at: datetime,
) -> None:
    """Write an entry; raises one of `DATABASE_ERRORS`."""
    entry = {"id": new_id(), "project": project, "at": at, "via": via, "actor": actor, "action": action}
    await database.change(_INSERT, entry | {"target": target})
