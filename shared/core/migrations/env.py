"""Alembic's environment. It runs on the connection of `shared.core.migrate`."""

from alembic import context

from shared.core.all_tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite can't alter a column, so Alembic copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
