"""shares that were taken back from failing pools

Revision ID: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("traffic", sa.Column("taken_back", kind, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("traffic", "taken_back")
