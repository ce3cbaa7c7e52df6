"""the newest events of agents that nobody dispatched are found by an index

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_OF_FOREIGN_AGENT = sa.text("type = 'agent.foreign_seen.v1'")


def upgrade() -> None:
    op.create_index(
        "ix_session_event_foreign_agent",
        "session_event",
        ["id"],
        postgresql_where=_OF_FOREIGN_AGENT,
        sqlite_where=_OF_FOREIGN_AGENT,
    )


def downgrade() -> None:
    op.drop_index("ix_session_event_foreign_agent", "session_event")
