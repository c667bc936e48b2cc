"""Run by alembic for every step; the connection and its transaction come from harness.history.migrate."""

from alembic import context

from harness.history.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
