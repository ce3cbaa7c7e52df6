"""full-text search over turns, erased transcripts

Revision ID: 0003

Neither the index of PostgreSQL nor the tables of SQLite are in `tables.py`: each is of one database
only. All their names begin with `transcript_search`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEPT = sa.text("transcript_erased_at IS NULL AND ended_at IS NOT NULL")
TO_ERASE_AGAIN = sa.text("transcript_erase_again_at IS NOT NULL")

# A word is a run of letters and digits, in small letters, and nothing else: the same on both databases,
# whatever the locale of the server. A text is searched up to its 100,000th character, since a tsvector
# holds 1 MB at most and a text that is too long for it must be stored all the same.
POSTGRES_PLAIN = """
CREATE FUNCTION transcript_search_plain(said text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(lower(left(said, 100000){collation}), '[^[:alnum:] ]+', ' ', 'g')
"""
POSTGRES_WORDS = """
CREATE FUNCTION transcript_search_words(said text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('pg_catalog.simple'::regconfig, transcript_search_plain(said))
"""
POSTGRES_INDEX = """
CREATE INDEX transcript_search ON transcript_item USING gin (transcript_search_words(text))
"""
# The first that the server has. Without any, letters beyond ASCII depend on the database's locale.
COLLATIONS = ("pg_c_utf8", "und-x-icu")

# SQLite takes what it does not know for letters; emoji are not.
SQLITE_SEPARATORS = "".join(map(chr, range(0x1F000, 0x1FB00)))
# The rows of the index need numbers that VACUUM doesn't change, and those of transcript_item have none.
SQLITE_KEYS = (
    """
    CREATE TABLE transcript_search_key (
        id INTEGER PRIMARY KEY,
        session_id VARCHAR NOT NULL,
        item_id VARCHAR NOT NULL,
        UNIQUE (session_id, item_id)
    )
    """,
    """
    INSERT INTO transcript_search_key (session_id, item_id) SELECT session_id, item_id FROM transcript_item
    """,
)
SQLITE_INDEX = (
    """
    CREATE VIEW transcript_search_source AS
    SELECT transcript_search_key.id, transcript_item.text
    FROM transcript_search_key JOIN transcript_item USING (session_id, item_id)
    """,
    f"""
    CREATE VIRTUAL TABLE transcript_search USING fts5(
        text, content='transcript_search_source', content_rowid='id',
        tokenize="unicode61 remove_diacritics 0 categories 'L* N* M*' separators '{SQLITE_SEPARATORS}'"
    )
    """,
    "INSERT INTO transcript_search (transcript_search) VALUES ('rebuild')",
    """
    CREATE TRIGGER transcript_search_insert AFTER INSERT ON transcript_item BEGIN
        INSERT INTO transcript_search_key (session_id, item_id) VALUES (new.session_id, new.item_id);
        INSERT INTO transcript_search (rowid, text)
        SELECT id, new.text FROM transcript_search_key
        WHERE session_id = new.session_id AND item_id = new.item_id;
    END
    """,
    """
    CREATE TRIGGER transcript_search_update AFTER UPDATE OF text ON transcript_item BEGIN
        INSERT INTO transcript_search (transcript_search, rowid, text)
        SELECT 'delete', id, old.text FROM transcript_search_key
        WHERE session_id = old.session_id AND item_id = old.item_id;
        INSERT INTO transcript_search (rowid, text)
        SELECT id, new.text FROM transcript_search_key
        WHERE session_id = new.session_id AND item_id = new.item_id;
    END
    """,
    """
    CREATE TRIGGER transcript_search_delete AFTER DELETE ON transcript_item BEGIN
        INSERT INTO transcript_search (transcript_search, rowid, text)
        SELECT 'delete', id, old.text FROM transcript_search_key
        WHERE session_id = old.session_id AND item_id = old.item_id;
        DELETE FROM transcript_search_key WHERE session_id = old.session_id AND item_id = old.item_id;
    END
    """,
)


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    op.add_column("session", sa.Column("transcript_erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "session", sa.Column("transcript_erase_again_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_index(
        "ix_session_transcript_kept", "session", ["ended_at"], postgresql_where=KEPT, sqlite_where=KEPT
    )
    op.create_index(
        "ix_session_erase_again",
        "session",
        ["transcript_erase_again_at"],
        postgresql_where=TO_ERASE_AGAIN,
        sqlite_where=TO_ERASE_AGAIN,
    )
    op.create_index("ix_session_participant", "session", ["participant_identity"])
    if op.get_bind().dialect.name == "sqlite":
        for statement in SQLITE_KEYS:
            op.execute(statement)
    index_texts()


def index_texts() -> None:
    """The index, over texts; 0013 puts another in its place."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in SQLITE_INDEX:
            op.execute(statement)
        return
    op.execute(POSTGRES_PLAIN.format(collation=_collation()))
    op.execute(POSTGRES_WORDS)
    op.execute(POSTGRES_INDEX)


def _collation() -> str:
    there = set(
        op.get_bind().scalars(
            sa.text("SELECT collname FROM pg_collation WHERE collencoding IN (-1, 6)")  # 6 is UTF-8
        )
    )
    found = next((name for name in COLLATIONS if name in there), None)
    return f' COLLATE pg_catalog."{found}"' if found else ""


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER transcript_search_{name}")
        op.execute("DROP TABLE transcript_search")
        op.execute("DROP VIEW transcript_search_source")
        op.execute("DROP TABLE transcript_search_key")
    else:
        op.execute("DROP INDEX transcript_search")
        op.execute("DROP FUNCTION transcript_search_words(text)")
        op.execute("DROP FUNCTION transcript_search_plain(text)")
    op.drop_index("ix_session_participant", table_name="session")
    op.drop_index("ix_session_erase_again", table_name="session")
    op.drop_index("ix_session_transcript_kept", table_name="session")
    op.drop_column("session", "transcript_erase_again_at")
    op.drop_column("session", "transcript_erased_at")
