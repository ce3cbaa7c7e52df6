"""webhooks out

Revision ID: 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PENDING = sa.text("status = 'pending'")
DEAD = sa.text("status = 'dead'")


def time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("events", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("min_severity", sa.String(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        time("previous_secret_until"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(), nullable=True),
        time("disabled_at"),
        time("failing_since"),
        time("paused_until"),
        time("collects_from", nullable=False),
        time("created_at", nullable=False),
        time("updated_at", nullable=False),
    )
    op.create_index("ix_webhook_endpoint_project_id", "webhook_endpoint", ["project", "id"])
    op.create_table(
        "webhook_delivery",
        sa.Column(
            "endpoint_id",
            sa.String(),
            sa.ForeignKey("webhook_endpoint.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("event_id", sa.String(), primary_key=True),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        time("next_attempt_at"),
        time("claimed_until"),
        time("last_attempt_at"),
        sa.Column("response_code", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        time("created_at", nullable=False),
        time("finished_at"),
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["endpoint_id", "next_attempt_at"],
        postgresql_where=PENDING,
        sqlite_where=PENDING,
    )
    op.create_index(
        "ix_webhook_delivery_dead",
        "webhook_delivery",
        ["endpoint_id", "event_id"],
        postgresql_where=DEAD,
        sqlite_where=DEAD,
    )
    op.create_index("ix_webhook_delivery_finished", "webhook_delivery", ["finished_at"])
    op.create_table(
        "webhook_cursor",
        sa.Column("name", sa.String(), primary_key=True),
        time("position", nullable=False),
    )


def downgrade() -> None:
    op.drop_table("webhook_cursor")
    op.drop_table("webhook_delivery")
    op.drop_table("webhook_endpoint")
