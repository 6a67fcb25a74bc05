"""The primary key of `spend_daily` includes the template, as the sums do since revision 0002.

Without it the second template of a day, user, key, model and target could not be recorded at all. The unique index that
revision 0002 made becomes the primary key; no row is read or written. Contracts: code of revision 0001, which sums
without templates, no longer writes; all later code does.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the primary key."""
    op.execute(
        "ALTER TABLE spend_daily DROP CONSTRAINT spend_daily_pkey, "
        "ADD CONSTRAINT spend_daily_pkey PRIMARY KEY USING INDEX spend_daily_by_template"
    )
