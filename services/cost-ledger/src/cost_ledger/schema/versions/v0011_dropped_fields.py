"""Of each attempt the fields that its target was not told, by name, one a line.

Expands only: older code does not know the column. A column with a constant default rewrites no row.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE attempts ADD COLUMN dropped text NOT NULL DEFAULT ''")
