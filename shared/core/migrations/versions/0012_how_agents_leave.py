"""how an agent left, whether its worker reports to us, and since when the caller is gone

Revision ID: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TIMES = ("reported_at", "arrived_at", "left_at")


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, which its attempts and events forbid.
    for name in _TIMES:
        op.add_column("dispatch_attempt", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("dispatch_attempt", sa.Column("left_reason", sa.String(), nullable=True))
    op.add_column("session", sa.Column("caller_left_at", sa.DateTime(timezone=True), nullable=True))
    # Only a worker that reports could say until now that it took the job.
    op.execute("UPDATE dispatch_attempt SET reported_at = assigned_at WHERE assigned_at IS NOT NULL")


def downgrade() -> None:
    op.drop_column("session", "caller_left_at")
    op.drop_column("dispatch_attempt", "left_reason")
    for name in reversed(_TIMES):
        op.drop_column("dispatch_attempt", name)
