"""Write turns to the database: a turn that comes twice is written once."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.transcripts.ports import ArchiveRefused, ArchiveUnavailable
from shared.contracts.events import TurnFinished
from shared.runtime.clock import Clock
from shared.runtime.database import UNREACHABLE, Database, changed, is_refused
from shared.runtime.erasure import without_text
from shared.runtime.tables import SessionRow, TranscriptItemRow

# SQLite takes 32,766 parameters in a statement, and an item has 20 columns.
_ROWS_PER_STATEMENT = 500


class DatabaseArchive:
    """The archive in our database."""

    def __init__(
        self,
        database: Database,
        *,
        now: Clock,
        prepare: Callable[[TurnFinished], TurnFinished] = lambda turn: turn,
    ) -> None:
        self._database = database
        self._now = now
        self._prepare = prepare

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        """Write the turns; see `ports.Archive.store`."""
        wanted: set[str] = {turn.session_id for turn in turns}
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        new = 0
        try:
            async with self._database.write() as db:
                query = select(col(SessionRow.id)).where(col(SessionRow.id).in_(wanted))
                known = set((await db.scalars(query)).all())
                erased = await erased_among(db, known)
                rows = [self._row(turn, erased) for turn in turns if turn.session_id in known]
                for start in range(0, len(rows), _ROWS_PER_STATEMENT):
                    statement = insert(TranscriptItemRow).values(rows[start : start + _ROWS_PER_STATEMENT])
                    new += await changed(db, statement.on_conflict_do_nothing())
        except (DBAPIError, OverflowError, *UNREACHABLE) as error:
            refused = isinstance(error, OverflowError) or (
                isinstance(error, DBAPIError) and is_refused(error)
            )
            raise (ArchiveRefused if refused else ArchiveUnavailable)(repr(error)) from error
        return new, wanted - known

    def _row(self, turn: TurnFinished, erased: set[str]) -> dict[str, Any]:
        kept = without_text(turn) if turn.session_id in erased else self._prepare(turn)
        return {**kept.model_dump(), "stored_at": self._now()}


async def erased_among(db: AsyncSession, session_ids: Collection[str]) -> set[str]:
    """Those of the sessions whose transcript was erased."""
    query = select(col(SessionRow.id)).where(
        col(SessionRow.id).in_(session_ids), col(SessionRow.transcript_erased_at).is_not(None)
    )
    return set((await db.scalars(query)).all())
