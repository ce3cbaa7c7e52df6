"""The words of each turn for the databases' indexes. Both databases get the same words, and split no text.

A column beside the text holds them: as a tsvector on PostgreSQL, elsewhere separated by spaces. It is not
part of the model `TranscriptItemRow`: no code reads it, and every statement that writes a text also writes
it. If it is null, the turn is not in the index yet; see `index_missing`.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Text, TypeDecorator, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.engine import Dialect

from shared.core.transcripts.words import words_of

COLUMN: Final = "transcript_search_words"


class SearchWords(TypeDecorator[Sequence[str]]):
    """The column's type: the words of a text, in order."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the column's type: `tsvector` on PostgreSQL, text elsewhere."""
        return dialect.type_descriptor(TSVECTOR() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str | None:
        """Return the words as the database stores them; None for no words."""
        if value is None:
            return None
        return as_tsvector(value) if dialect.name == "postgresql" else " ".join(value)


def as_tsvector(words: Sequence[str]) -> str:
    """Return the words as a tsvector literal; a word has no character that needs quoting."""
    return " ".join([f"{word}:{place}" for place, word in enumerate(words, 1)])


def search_words_column() -> Column[Any]:
    """Return the column. Each statement that writes a text fills it from that text."""
    return Column(COLUMN, SearchWords(), nullable=True, default=_of_text, onupdate=_of_text)


def _of_text(context: Any) -> list[str] | None:
    said = context.get_current_parameters(isolate_multiinsert_groups=False).get("text")
    return words_of(said) if isinstance(said, str) else None


_MISSING = text(
    "SELECT session_id, item_id, text FROM transcript_item WHERE transcript_search_words IS NULL LIMIT :most"
)
# If the text was changed or erased meanwhile, its words were too.
_FILL = (
    "UPDATE transcript_item SET transcript_search_words = {value}"
    " WHERE session_id = :session_id AND item_id = :item_id AND transcript_search_words IS NULL"
)


def index_missing(connection: Connection, most: int) -> int:
    """Index up to `most` turns that are not indexed: old ones, and those written by an older consumer."""
    found = connection.execute(_MISSING, {"most": most}).all()
    if not found:
        return 0
    on_postgres = connection.dialect.name == "postgresql"
    value = "CAST(CAST(:words AS text) AS tsvector)" if on_postgres else ":words"
    rows = [
        {"session_id": row.session_id, "item_id": row.item_id, "words": _written(row.text, on_postgres)}
        for row in found
    ]
    connection.execute(text(_FILL.format(value=value)), rows)
    return len(rows)


def _written(said: str, on_postgres: bool) -> str:
    words = words_of(said)
    return as_tsvector(words) if on_postgres else " ".join(words)
