"""Alembic's entry: turns the revisions into SQL, which `cost_ledger.migrate` runs over asyncpg."""

from alembic import context

context.configure(dialect_name="postgresql", literal_binds=True)
context.run_migrations()
