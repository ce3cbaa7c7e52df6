"""Full-text search over the turns of a project, translated for either database."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    Text,
    and_,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlmodel import col

from services.api.errors.problems import Problem, invalid_field
from services.api.http.paging import cut_page, one_more
from services.api.limits.limited_reads import TookTooLong, limited_snapshot
from services.api.limits.reading import TIMEOUT_S
from services.api.transcripts.schemas import SearchHit, SearchPage
from services.api.transcripts.search.query import Alternative, MalformedQuery, Query, Words, parse
from services.api.transcripts.search.snippet import make_snippet
from shared.contracts.sessions import Role
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.search_words import COLUMN
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import Database

# The character that marks a match; no word contains it.
_MARK: Final = 1
_USUAL_WORDS: Final = 20.0

_WORDS: Final[ColumnElement[Any]] = TranscriptItemRow.__table__.c[COLUMN]  # type: ignore[attr-defined]


class Order(StrEnum):
    """Which hits come first."""

    NEWEST = "newest"
    RELEVANCE = "relevance"


@dataclass(frozen=True)
class Filters:
    """Which turns are searched; a filter that is None matches all."""

    since: datetime | None = None
    until: datetime | None = None
    agent_name: str | None = None
    role: Role | None = None
    session_id: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Hits:
    """All matching turns: a select of turn, agent name and rank, and the rank's expression for ordering."""

    statement: Select[Any]
    rank: ColumnElement[float]


class TextIndex(Protocol):
    """The full-text index of a database."""

    def hits(self, query: Query) -> Hits:
        """Return the turns that the query matches."""


class PostgresIndex:
    """A GIN index over `transcript_search_words`; see migration 0013."""

    def hits(self, query: Query) -> Hits:
        """See `TextIndex.hits`."""
        sides = " | ".join(map(self._side, query.alternatives))
        # Not to_tsquery, which would split the words by its own rules.
        wanted = cast(literal(sides, Text()), TSQUERY())
        # Cast to double, so that the cursor's value equals the value that is computed again.
        rank = cast(func.ts_rank(_WORDS, wanted), Float(53))
        return Hits(_turns(rank).where(_WORDS.op("@@")(wanted)), rank)

    def _side(self, alternative: Alternative) -> str:
        unwanted = (f"!{self._phrase(phrase)}" for phrase in alternative.unwanted)
        return f"({' & '.join([*map(self._phrase, alternative.wanted), *unwanted])})"

    def _phrase(self, phrase: Words) -> str:
        return f"({' <-> '.join(phrase)})"


class SqliteIndex:
    """The FTS5 table `transcript_search`; see migration 0013."""

    def hits(self, query: Query) -> Hits:
        """See `TextIndex.hits`."""
        index = table("transcript_search", column("rowid"))
        key = table("transcript_search_key", column("id"), column("session_id"), column("item_id"))
        rank = self._rank()
        of_turn = and_(
            key.c.session_id == col(TranscriptItemRow.session_id),
            key.c.item_id == col(TranscriptItemRow.item_id),
        )
        wanted = " OR ".join(map(self._side, query.alternatives))
        match = literal_column("transcript_search").op("MATCH")(wanted)
        return Hits(_turns(rank).join(key, of_turn).join(index, index.c.rowid == key.c.id).where(match), rank)

    def _rank(self) -> ColumnElement[float]:
        """Return BM25 with constants instead of FTS5's statistics of the whole index.

        Those statistics are the lengths of all turns, and how many contain the word. They include turns of
        other projects, about which a rank must reveal nothing.
        """
        plain = func.length(_WORDS)
        marked = func.highlight(literal_column("transcript_search"), 0, func.char(_MARK), "")
        matches = func.length(marked) - plain
        words = plain - func.length(func.replace(_WORDS, " ", "")) + 1
        length = 0.25 + 0.75 * words / _USUAL_WORDS
        return cast(matches * 2.2 / (matches + 1.2 * length), Float(53))

    def _side(self, alternative: Alternative) -> str:
        wanted = " AND ".join(map(self._phrase, alternative.wanted))
        unwanted = "".join(f" NOT {self._phrase(phrase)}" for phrase in alternative.unwanted)
        return f"(({wanted}){unwanted})"

    def _phrase(self, phrase: Words) -> str:
        return f'"{" ".join(phrase)}"'


def _turns(rank: ColumnElement[float]) -> Select[Any]:
    columns: list[Any] = [TranscriptItemRow, col(SessionRow.agent_name), rank]
    return select(*columns).join(SessionRow, col(SessionRow.id) == col(TranscriptItemRow.session_id))


async def search_turns(
    database: Database,
    text: str,
    *,
    filters: Filters,
    order: Order,
    limit: int,
    cursor: str | None,
    project: str,
) -> SearchPage:
    """Return up to `limit` matching turns; raises `Problem` for an invalid query or cursor."""
    try:
        query = parse(text)
    except MalformedQuery as fault:
        raise invalid_field("q", str(fault)) from None
    index: TextIndex = SqliteIndex() if database.is_sqlite else PostgresIndex()
    hits = index.hits(query)
    found = with_filters(hits.statement, filters).where(col(SessionRow.project) == project)
    rows = await _run(database, _paged(found, _key(hits, order), order, cursor).limit(one_more(limit)))
    page, next_cursor = cut_page(rows, limit, lambda row: _cursor_of(row, order))
    return SearchPage(
        results=[_hit(turn, agent_name, rank, query) for turn, agent_name, rank in page],
        next_cursor=next_cursor,
    )


async def _run(database: Database, statement: Select[Any]) -> Sequence[Any]:
    try:
        async with limited_snapshot(database, seconds=TIMEOUT_S) as db:
            rows: Sequence[Any] = (await db.execute(statement)).all()
    except TookTooLong:
        detail = "too many turns match; search for a rarer word, or within a shorter period"
        raise Problem(503, "search_too_broad", detail) from None
    return rows


def with_filters(found: Select[Any], filters: Filters) -> Select[Any]:
    """Return the statement, limited to what the filters let through."""
    wanted = (
        (col(SessionRow.agent_name), filters.agent_name),
        (col(TranscriptItemRow.role), filters.role),
        (col(TranscriptItemRow.session_id), filters.session_id),
        (col(TranscriptItemRow.language), filters.language),
    )
    for attribute, value in wanted:
        if value is not None:
            found = found.where(attribute == value)
    if filters.since is not None:
        found = found.where(col(TranscriptItemRow.created_at) >= filters.since)
    if filters.until is not None:
        found = found.where(col(TranscriptItemRow.created_at) < filters.until)
    return found


def _key(hits: Hits, order: Order) -> tuple[Any, ...]:
    """Return the sort key of hits; session and item make it unique."""
    first: Any = hits.rank if order is Order.RELEVANCE else col(TranscriptItemRow.created_at)
    return first, col(TranscriptItemRow.session_id), col(TranscriptItemRow.item_id)


def _paged(found: Select[Any], key: tuple[Any, ...], order: Order, cursor: str | None) -> Select[Any]:
    if cursor is not None:
        first, session_id, item_id = _position(cursor, order)
        kind: Any = Float() if order is Order.RELEVANCE else UtcDateTime()
        bound = (literal(first, kind), literal(session_id), literal(item_id))
        found = found.where(tuple_(*key) < tuple_(*bound))
    return found.order_by(*(part.desc() for part in key))


def _hit(turn: TranscriptItemRow, agent_name: str, rank: float, query: Query) -> SearchHit:
    fields = turn.model_dump(include=set(SearchHit.model_fields) - {"id"})
    snippet = make_snippet(turn.text, query.wanted)
    return SearchHit(id=turn.item_id, agent_name=agent_name, rank=rank, snippet=snippet, **fields)


def _cursor_of(row: Any, order: Order) -> str:
    turn, _, rank = row
    first = rank if order is Order.RELEVANCE else turn.created_at.isoformat()
    position = json.dumps([order, first, turn.session_id, turn.item_id])
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _position(cursor: str, order: Order) -> tuple[float | datetime, str, str]:
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        made_for, first, session_id, item_id = json.loads(position)
        place = float(first) if order is Order.RELEVANCE else _time(first)
        good = made_for == order and storable(session_id) and storable(item_id)
    except (ValueError, TypeError, AttributeError, OverflowError):
        good = False
    if not good:
        raise invalid_field("cursor", "does not belong to this search; begin without a cursor")
    return place, session_id, item_id


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def storable(value: str) -> bool:
    """Return whether both databases accept the text: PostgreSQL refuses NUL, both lone surrogates."""
    return "\x00" not in value and value.encode(errors="replace").decode() == value
