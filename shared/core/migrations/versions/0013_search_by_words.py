"""search by words that this program has found, and no database

Revision ID: 0013

Turns that are there already are indexed here, up to a number that takes no longer than some minutes; the
API's housekeeping does what is left.
"""

import importlib

import sqlalchemy as sa
from alembic import op

from shared.core.transcripts.search_words import SearchWords, index_missing

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

AT_ONCE = 1_000
MOST = 200_000

# ASCII: what is beyond it belongs to a word, whatever it is. Words come with blanks between.
SQLITE = (
    """
    CREATE VIEW transcript_search_source AS
    SELECT transcript_search_key.id, transcript_item.transcript_search_words
    FROM transcript_search_key JOIN transcript_item USING (session_id, item_id)
    """,
    """
    CREATE VIRTUAL TABLE transcript_search USING fts5(
        transcript_search_words, content='transcript_search_source', content_rowid='id', tokenize='ascii'
    )
    """,
    "INSERT INTO transcript_search (transcript_search) VALUES ('rebuild')",
    """
    CREATE TRIGGER transcript_search_insert AFTER INSERT ON transcript_item BEGIN
        INSERT INTO transcript_search_key (session_id, item_id) VALUES (new.session_id, new.item_id);
        INSERT INTO transcript_search (rowid, transcript_search_words)
        SELECT id, new.transcript_search_words FROM transcript_search_key
        WHERE session_id = new.session_id AND item_id = new.item_id;
    END
    """,
    """
    CREATE TRIGGER transcript_search_update AFTER UPDATE OF transcript_search_words ON transcript_item BEGIN
        INSERT INTO transcript_search (transcript_search, rowid, transcript_search_words)
        SELECT 'delete', id, old.transcript_search_words FROM transcript_search_key
        WHERE session_id = old.session_id AND item_id = old.item_id;
        INSERT INTO transcript_search (rowid, transcript_search_words)
        SELECT id, new.transcript_search_words FROM transcript_search_key
        WHERE session_id = new.session_id AND item_id = new.item_id;
    END
    """,
    """
    CREATE TRIGGER transcript_search_delete AFTER DELETE ON transcript_item BEGIN
        INSERT INTO transcript_search (transcript_search, rowid, transcript_search_words)
        SELECT 'delete', id, old.transcript_search_words FROM transcript_search_key
        WHERE session_id = old.session_id AND item_id = old.item_id;
        DELETE FROM transcript_search_key WHERE session_id = old.session_id AND item_id = old.item_id;
    END
    """,
)
MISSING = sa.text("transcript_search_words IS NULL")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        drop_sqlite()
    else:
        op.execute("DROP INDEX transcript_search")
        op.execute("DROP FUNCTION transcript_search_words(text)")
        op.execute("DROP FUNCTION transcript_search_plain(text)")
    # Not as a batch: SQLite would make the table anew.
    op.add_column("transcript_item", sa.Column("transcript_search_words", SearchWords(), nullable=True))
    op.create_index(
        "transcript_search_missing",
        "transcript_item",
        ["session_id", "item_id"],
        postgresql_where=MISSING,
        sqlite_where=MISSING,
    )
    for _ in range(MOST // AT_ONCE):
        if index_missing(op.get_bind(), AT_ONCE) < AT_ONCE:
            break
    if sqlite:
        for statement in SQLITE:
            op.execute(statement)
        return
    op.execute(
        "CREATE INDEX transcript_search ON transcript_item USING gin (transcript_search_words)"
        # What is not sorted in yet is gone through by every search.
        " WITH (gin_pending_list_limit = 64)"
    )


def drop_sqlite() -> None:
    """All but the table of keys, which stays as it is."""
    for name in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER transcript_search_{name}")
    op.execute("DROP TABLE transcript_search")
    op.execute("DROP VIEW transcript_search_source")


def downgrade() -> None:
    before = importlib.import_module("shared.core.migrations.versions.0003_reading_transcripts")
    if op.get_bind().dialect.name == "sqlite":
        drop_sqlite()
    else:
        op.execute("DROP INDEX transcript_search")
    op.drop_index("transcript_search_missing", table_name="transcript_item")
    op.drop_column("transcript_item", "transcript_search_words")
    before.index_texts()
