"""reservations, idempotency keys, and the line in the order of the requests

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WAITING = sa.text("waiting_for IS NOT NULL")
RESERVED = sa.text("status = 'reserved'")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    op.add_column("session", sa.Column("deployment", sa.String(), nullable=True))
    op.create_index(
        "ix_session_reserved",
        "session",
        ["deadline_at", "id"],
        postgresql_where=RESERVED,
        sqlite_where=RESERVED,
    )
    _index_the_line(["agent_name", "requested_at", "id"])
    op.create_table(
        "idempotency_key",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("running_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", JSON, nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "route", "key"),
    )
    op.create_index("ix_idempotency_key_expires_at", "idempotency_key", ["expires_at"])


def downgrade() -> None:
    op.drop_table("idempotency_key")
    _index_the_line(["agent_name", "id"])
    op.drop_index("ix_session_reserved", table_name="session")
    op.drop_column("session", "deployment")


def _index_the_line(columns: list[str]) -> None:
    op.drop_index("ix_session_waiting", table_name="session")
    op.create_index("ix_session_waiting", "session", columns, postgresql_where=WAITING, sqlite_where=WAITING)
