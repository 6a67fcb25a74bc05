"""When a request was first recorded, by the clock of PostgreSQL.

The sweep for unsettled requests, and retention, must not go by the clock of the pod that admitted the request: all
running requests of a pod whose clock is an hour behind would be given up.

Expands only. The default is evaluated once for all existing rows, so that none of them is rewritten.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment to requests."""
    op.execute("ALTER TABLE requests ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()")
