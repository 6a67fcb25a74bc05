"""An index of `spend_daily` by day and tenant, for the sums that recording/publish_spend.py reads every second.

Expands only. The indexed columns never change, so updates of the sums stay on their page and leave the index alone.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.execute("CREATE INDEX spend_daily_by_day ON spend_daily (day, tenant)")
