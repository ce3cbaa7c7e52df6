"""where sessions and their events belong in a trace

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    op.add_column("session", sa.Column("traceparent", sa.String(), nullable=True))
    op.add_column("session_event", sa.Column("traceparent", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("session_event", "traceparent")
    op.drop_column("session", "traceparent")
