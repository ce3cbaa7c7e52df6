"""erasures leave marks; turns that were deleted are told from those that were erased

Revision ID: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEPT_BEFORE = sa.text("transcript_erased_at IS NULL AND ended_at IS NOT NULL")
KEPT = sa.text("transcript_deleted_at IS NULL AND ended_at IS NOT NULL")
ENDED = sa.text("ended_at IS NOT NULL")
EXPIRED = sa.text("status = 'expired'")


def upgrade() -> None:
    op.create_table(
        "erasure_mark",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "person"),
    )
    op.create_index("ix_erasure_mark_made_at", "erasure_mark", ["made_at"])
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    op.add_column("session", sa.Column("transcript_deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_session_transcript_kept", table_name="session")
    _index("ix_session_transcript_kept", KEPT)
    _index("ix_session_ended", ENDED)
    _index("ix_session_expired", EXPIRED)


def _index(name: str, where: sa.TextClause) -> None:
    op.create_index(name, "session", ["ended_at"], postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    for name in ("ix_session_expired", "ix_session_ended", "ix_session_transcript_kept"):
        op.drop_index(name, table_name="session")
    op.drop_column("session", "transcript_deleted_at")
    _index("ix_session_transcript_kept", KEPT_BEFORE)
    op.drop_table("erasure_mark")
