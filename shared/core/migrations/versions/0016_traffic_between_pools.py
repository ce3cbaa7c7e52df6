"""traffic between pools

Revision ID: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "traffic",
        sa.Column("agent_name", sa.String(), nullable=False),
        sa.Column("shares", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("agent_name"),
    )
    op.add_column("dispatch_attempt", sa.Column("deployment", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("dispatch_attempt", "deployment")
    op.drop_table("traffic")
