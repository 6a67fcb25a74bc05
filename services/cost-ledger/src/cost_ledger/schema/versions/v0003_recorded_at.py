"""When a request was first recorded, by the clock of PostgreSQL.

Who waits for an end, or for the end of the time that a row is kept, must not go by the clock of the pod that admitted
the request: a pod whose clock is an hour behind would see all its running requests given up.

Expands only. The default is evaluated once for the rows that are there, so that none of them is rewritten.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment to requests."""
    op.execute("ALTER TABLE requests ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()")
