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
    with op.batch_alter_table("session") as batch_op:
        batch_op.add_column(sa.Column("required_level", sa.String(), nullable=False, server_default="active"))
        batch_op.add_column(sa.Column("canary", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_session_waiting",
        "session",
        ["agent_name", "id"],
        postgresql_where=WAITING,
        sqlite_where=WAITING,
    )


def downgrade() -> None:
    op.drop_index("ix_session_waiting", table_name="session")
    with op.batch_alter_table("session") as batch_op:
        batch_op.drop_column("canary")
        batch_op.drop_column("required_level")
