"""Alembic's entry: it runs on the connection that core.db.migrate hands over, never on its own."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="hopsmeter",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
