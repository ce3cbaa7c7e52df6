"""Check whether this process can work with the database, for `/readyz`."""

import asyncio
import json
from typing import Final

from sqlalchemy import text

from shared.core.all_tables import METADATA
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, fault_of

CHECK_TIMEOUT_S: Final = 2.0
_NAMED: Final = 5

_MISSING_POSTGRES: Final = text(
    "SELECT wanted.value->>0 || '.' || (wanted.value->>1)"
    " FROM json_array_elements(CAST(:wanted AS json)) AS wanted WHERE NOT EXISTS"
    " (SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(wanted.value->>0))"
    " AND attname = wanted.value->>1 AND NOT attisdropped)"
)
_MISSING_SQLITE: Final = text(
    "SELECT wanted.value->>0 || '.' || (wanted.value->>1) FROM json_each(:wanted) AS wanted WHERE NOT EXISTS"
    " (SELECT 1 FROM pragma_table_xinfo(wanted.value->>0) WHERE name = wanted.value->>1)"
)


async def unready(database: Database) -> str | None:
    """Return what has to be fixed before this process can work; None if no fault is known."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            missing = await missing_columns(database)
    except DATABASE_ERRORS as error:
        return str(fault_of(error))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return f"the database lacks {', '.join(missing[:_NAMED])}{more}: run python -m shared.core.migrate"
    fault = database.state.what_fails()
    return None if fault is None else str(fault)


async def missing_columns(database: Database) -> list[str]:
    """Return the columns that this code uses and the database lacks, each as `table.column`.

    More columns are fine: a newer release may already have migrated the database.
    """
    query = _MISSING_SQLITE if database.is_sqlite else _MISSING_POSTGRES
    tables = METADATA.sorted_tables
    wanted = [(table.name, column.name) for table in tables for column in table.columns]
    async with database.read() as db:
        return sorted(await db.scalars(query, {"wanted": json.dumps(wanted)}))
