"""the level a session requires, canaries, and the waiting line

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WAITING = sa.text("waiting_for IS NOT NULL")


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    op.add_column(
        "session", sa.Column("required_level", sa.String(), nullable=False, server_default="active")
    )
    op.add_column("session", sa.Column("canary", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("session", sa.Column("caller_joined_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_session_waiting",
        "session",
        ["agent_name", "id"],
        postgresql_where=WAITING,
        sqlite_where=WAITING,
    )
    op.create_index("ix_session_room", "session", ["room_name", "id"])
    op.create_index(
        "ix_session_canary",
        "session",
        ["agent_name", "id"],
        postgresql_where=sa.text("canary IS true"),
        sqlite_where=sa.text("canary IS 1"),
    )


def downgrade() -> None:
    op.drop_index("ix_session_canary", table_name="session")
    op.drop_index("ix_session_room", table_name="session")
    op.drop_index("ix_session_waiting", table_name="session")
    op.drop_column("session", "caller_joined_at")
    op.drop_column("session", "canary")
    op.drop_column("session", "required_level")
