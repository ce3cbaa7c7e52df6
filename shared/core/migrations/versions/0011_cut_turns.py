"""how long the text of a turn was that was cut

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not as a batch: on SQLite that makes the table anew, and its search index would not follow.
    op.add_column("transcript_item", sa.Column("cut_from_bytes", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("transcript_item", "cut_from_bytes")
