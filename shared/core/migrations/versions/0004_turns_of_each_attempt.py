"""how many turns there are is said of each attempt

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dispatch_attempt", sa.Column("expected_turns", sa.Integer(), nullable=True))
    op.add_column("dispatch_attempt", sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True))
    # What the last agent said was the number of its last turn. Agents before it, whose count nobody kept,
    # are taken to have said what is stored of them, as they were until now.
    op.execute(
        "UPDATE dispatch_attempt SET counted_at = closed_at, expected_turns ="
        " (SELECT session.expected_turns FROM session WHERE session.id = dispatch_attempt.session_id)"
        " - first_seq + 1 WHERE closed_at IS NOT NULL AND number ="
        " (SELECT session.attempt FROM session WHERE session.id = dispatch_attempt.session_id)"
    )
    op.execute(
        "UPDATE dispatch_attempt SET counted_at = started_at, expected_turns ="
        " (SELECT count(DISTINCT item.seq) FROM transcript_item AS item WHERE item.session_id ="
        " dispatch_attempt.session_id AND item.attempt = dispatch_attempt.number)"
        " WHERE expected_turns IS NULL AND number <"
        " (SELECT session.attempt FROM session WHERE session.id = dispatch_attempt.session_id)"
    )
    op.drop_column("session", "expected_turns")


def downgrade() -> None:
    op.add_column("session", sa.Column("expected_turns", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE session SET expected_turns = (SELECT first_seq - 1 + attempt.expected_turns"
        " FROM dispatch_attempt AS attempt"
        " WHERE attempt.session_id = session.id AND attempt.number = session.attempt)"
    )
    op.drop_column("dispatch_attempt", "counted_at")
    op.drop_column("dispatch_attempt", "expected_turns")
