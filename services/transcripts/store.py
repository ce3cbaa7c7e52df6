"""Write turns to the database. A turn that comes twice is written once.

PostgreSQL gets a batch as one JSON text and splits it itself. For this process that is four times cheaper
than an array for each column, and as fast as COPY into a staging table (docs/adr/0009).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import TextClause, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import load_only
from sqlmodel import col

from services.transcripts.ports import ArchiveRefused, ArchiveUnavailable, Oddities
from shared.contracts.events import TurnFinished
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.transcripts.erasure import without_text
from shared.core.transcripts.erasure_rows import erase_rows, exclude_erasures, exclude_stores, find_marked
from shared.core.transcripts.search_words import COLUMN, as_tsvector
from shared.core.transcripts.tables import TranscriptItemRow
from shared.core.transcripts.words import words_of
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS, Kind
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Without a limit, a server whose connection breaks silently would hold the batch forever.
STORE_TIMEOUT_S = 30.0

# The exceptions for a value that its column or its encoding does not accept.
_UNFIT = (OverflowError, ValueError, TypeError)

_OF_A_SESSION: Any = (
    SessionRow.id,
    SessionRow.project,
    SessionRow.participant_identity,
    SessionRow.requested_at,
    SessionRow.transcript_erased_at,
    SessionRow.transcript_deleted_at,
)

_TABLE: Any = TranscriptItemRow.__table__  # type: ignore[attr-defined]
_COLUMNS = [column for column in _TABLE.columns if column.name in TurnFinished.model_fields]
_TURNS = TypeAdapter(list[TurnFinished])
_WORDS = TypeAdapter(list[str])
_SPANS = TypeAdapter(list[tuple[str, int, int]])


def _postgres_insert() -> TextClause:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    names = ", ".join(column.name for column in _COLUMNS)
    typed = ", ".join(f"{column.name} {column.type.compile(dialect)}" for column in _COLUMNS)
    return text(
        f"INSERT INTO {_TABLE.name} ({names}, stored_at, {COLUMN})"  # noqa: S608
        f" SELECT {names}, CAST(:stored_at AS timestamptz), CAST(words AS tsvector)"
        f" FROM ROWS FROM (json_to_recordset(CAST(:turns AS json)) AS ({typed}),"
        " json_array_elements_text(CAST(:words AS json)))"
        f" AS turn ({names}, words) ON CONFLICT DO NOTHING"
    )


_INSERT_POSTGRES = _postgres_insert()
_INSERT_SQLITE = sqlite.insert(_TABLE).on_conflict_do_nothing()

# OFFSET stops the planner from turning the subquery into a join over the whole table.
_NEIGHBOURS_POSTGRES = text(
    "SELECT span.value->>0, item.seq, count(*) FROM json_array_elements(CAST(:spans AS json)) AS span"
    " CROSS JOIN LATERAL (SELECT seq FROM transcript_item WHERE session_id = span.value->>0"
    " AND seq BETWEEN CAST(span.value->>1 AS int) AND CAST(span.value->>2 AS int) OFFSET 0) AS item"
    " GROUP BY 1, 2"
)
_NEIGHBOURS_SQLITE = text(
    "SELECT item.session_id, item.seq, count(*) FROM json_each(:spans) AS span"
    " CROSS JOIN transcript_item AS item WHERE item.session_id = span.value->>0"
    " AND item.seq BETWEEN span.value->>1 AND span.value->>2"
    " GROUP BY 1, 2"
)


class DatabaseArchive:
    """The archive of turns in our database."""

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
        self._idle: list[AsyncConnection] = []

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        """Write the turns; see `ports.Archive.store`."""
        wanted: set[str] = {turn.session_id for turn in turns}
        async with _failures_classed(self._database):
            while True:
                async with self._database.write() as db:
                    await exclude_erasures(db)
                    sessions = await self._sessions(db, wanted)
                    untold = [row for row in sessions.values() if row.transcript_erased_at is None]
                    marked = await find_marked(db, untold, turns)
                    if not marked:
                        new = await self._insert(db, self._as_stored(turns, sessions))
                        break
                # A participant was erased, and only now it is known that they took part in these sessions.
                await self._erase(marked)
        return new, wanted - sessions.keys()

    async def projects(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """Return the projects of sessions; see `ports.Archive.projects`."""
        async with _failures_classed(self._database), self._database.read() as db:
            return await _projects(db, session_ids)

    async def oddities(self, turns: Sequence[TurnFinished]) -> Oddities:
        """Count turns that don't fit; see `ports.Archive.oddities`."""
        spans: dict[str, tuple[int, int]] = {}
        for turn in turns:
            low, high = spans.get(turn.session_id, (turn.seq - 1, turn.seq))
            spans[turn.session_id] = (min(low, turn.seq - 1), max(high, turn.seq))
        asked = {"spans": _SPANS.dump_json([(key, *span) for key, span in spans.items()]).decode()}
        async with _failures_classed(self._database):
            if self._database.is_sqlite:
                async with self._database.read() as db:
                    answer = (await db.execute(_NEIGHBOURS_SQLITE, asked)).all()
            else:
                async with self._connection() as connection:
                    answer = (await connection.execute(_NEIGHBOURS_POSTGRES, asked)).all()
        found = {(session_id, seq): count for session_id, seq, count in answer}
        places = {(turn.session_id, turn.seq) for turn in turns}
        early = {
            (turn.session_id, turn.attempt, turn.seq)
            for turn in turns
            if turn.seq > 1 and (turn.session_id, turn.seq - 1) not in found
        }
        return Oddities(
            conflicts=sum(found.get(place, 1) > 1 for place in places),
            gaps=len(early - await self._beginnings({session_id for session_id, _, _ in early})),
        )

    async def _beginnings(self, session_ids: Collection[str]) -> set[tuple[str, int, int]]:
        """Return session, attempt and number of each attempt's first turn, which has no predecessor."""
        if not session_ids:
            return set()
        query = select(col(AttemptRow.session_id), col(AttemptRow.number), col(AttemptRow.first_seq)).where(
            col(AttemptRow.session_id).in_(session_ids)
        )
        async with _failures_classed(self._database), self._database.read() as db:
            return {(session_id, number, seq) for session_id, number, seq in await db.execute(query)}

    async def aclose(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().close()

    async def _sessions(self, db: AsyncSession, wanted: Collection[str]) -> dict[str, SessionRow]:
        """Return which of the sessions exist.

        It is read for each batch, so that an erasure takes effect at once.
        """
        query = select(SessionRow).where(col(SessionRow.id).in_(wanted))
        return {row.id: row for row in await db.scalars(query.options(load_only(*_OF_A_SESSION)))}

    async def _erase(self, session_ids: Collection[str]) -> None:
        now = self._now()
        async with self._database.write() as db:
            await exclude_stores(db)
            await erase_rows(db, session_ids, now=now, again_at=now)
        log.info("sessions_of_erased_participants_erased", sessions=len(session_ids))

    def _as_stored(
        self, turns: Sequence[TurnFinished], sessions: Mapping[str, SessionRow]
    ) -> list[TurnFinished]:
        """Return the turns to write as rows. Sessions whose turns were deleted get none."""
        found = []
        for turn in turns:
            row = sessions.get(turn.session_id)
            if row is not None and row.transcript_deleted_at is None:
                found.append(self._prepare(turn) if row.transcript_erased_at is None else without_text(turn))
        # In a fixed order, so that two consumers with the same turns wait for each other instead of
        # deadlocking.
        return sorted(found, key=lambda turn: (turn.session_id, turn.item_id))

    async def _insert(self, db: AsyncSession, turns: list[TurnFinished]) -> int:
        if not turns:
            return 0
        stored_at = self._now()
        result: Any
        if self._database.is_sqlite:
            rows = [
                {
                    **turn.model_dump(),
                    "cut_from_bytes": turn.cut_from_bytes,
                    "stored_at": stored_at,
                    COLUMN: words_of(turn.text),
                }
                for turn in turns
            ]
            result = await db.execute(_INSERT_SQLITE, rows)
        else:
            words = [as_tsvector(words_of(turn.text)) for turn in turns]
            values = {
                "turns": _TURNS.dump_json(turns).decode(),
                "words": _WORDS.dump_json(words).decode(),
                "stored_at": stored_at,
            }
            result = await db.execute(_INSERT_POSTGRES, values)
        return int(result.rowcount)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection on which each statement is a transaction of its own.

        A statement then takes one round trip; a liveness check, BEGIN and COMMIT would make it four. A
        connection that failed is not used again.
        """
        with self._database.observed("write"):
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            except BaseException:
                await connection.invalidate()
                await connection.close()
                raise
            self._idle.append(connection)

    async def _connect(self) -> AsyncConnection:
        engine = self._database.engine.execution_options(isolation_level="AUTOCOMMIT")
        return await engine.connect()


async def _projects(db: AsyncSession, session_ids: Collection[str]) -> dict[str, str]:
    query = select(col(SessionRow.id), col(SessionRow.project)).where(col(SessionRow.id).in_(session_ids))
    return {row.id: row.project for row in await db.execute(query)}


@asynccontextmanager
async def _failures_classed(database: Database) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            yield
    except (*DATABASE_ERRORS, *_UNFIT) as error:
        fault = database.state.failed(error)
        raise (ArchiveRefused if fault.kind is Kind.DATA else ArchiveUnavailable)(str(fault)) from error
