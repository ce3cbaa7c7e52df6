"""Alembic's environment: it runs on the connection that `shared.core.migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

from shared.core import tables
from shared.core.webhooks import tables as webhook_tables
from shared.platform import lease

assert tables  # imported for its tables
assert webhook_tables
assert lease

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    # SQLite can't alter a column: Alembic then copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
