"""Run by alembic for every step; the connection and its transaction come from harness.history.migrate."""

from alembic import context

from harness.history.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes tables inside a transaction as well; alembic doesn't take that for granted.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
