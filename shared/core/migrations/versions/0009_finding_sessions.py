"""sessions found by their agent's name, their cause and their time

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CAUSED = sa.text("cause IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_session_project_requested", "session", ["project", "requested_at"])
    op.create_index(
        "ix_session_project_cause",
        "session",
        ["project", "cause", "id"],
        postgresql_where=_CAUSED,
        sqlite_where=_CAUSED,
    )
    op.create_index("ix_session_agent", "session", ["agent_name", "id"])


def downgrade() -> None:
    for name in ("ix_session_agent", "ix_session_project_cause", "ix_session_project_requested"):
        op.drop_index(name, table_name="session")
