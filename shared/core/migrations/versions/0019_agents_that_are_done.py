"""agents whose own code has ended the job because it was done

Revision ID: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dispatch_attempt", sa.Column("closed_in_order", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("dispatch_attempt", "closed_in_order")
