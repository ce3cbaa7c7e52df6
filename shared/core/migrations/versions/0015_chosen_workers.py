"""which worker an attempt was placed with

Revision ID: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COLUMNS = ("chosen_worker_id", "address")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("dispatch_attempt", sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("dispatch_attempt", name)
