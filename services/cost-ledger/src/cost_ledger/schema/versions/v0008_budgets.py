"""Budgets, and of a request what was asked instead of its model because of one.

Expands only: older code knows neither the table nor the columns. A column with a constant default rewrites no row.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BUDGETS = """
CREATE TABLE budgets (
    name text PRIMARY KEY,
    tenant text NOT NULL DEFAULT '*',
    user_id text NOT NULL DEFAULT '*',
    key text NOT NULL DEFAULT '*',
    team text NOT NULL DEFAULT '*',
    tier text NOT NULL DEFAULT '*',
    each text NOT NULL CHECK (each IN ('key', 'user', 'team', 'tenant', 'all')),
    per text NOT NULL CHECK (per IN ('hour', 'day', 'month', 'total')),
    zone text NOT NULL DEFAULT 'UTC',
    usd numeric(18,9) NOT NULL CHECK (usd >= 0),
    over text NOT NULL CHECK (over IN ('economy', 'emergency', 'warn')),
    stop_usd numeric(18,9) CHECK (stop_usd >= usd)
)
"""


def upgrade() -> None:
    """Add the table, with the budgets that hold unless they are changed, and the columns."""
    for statement in (
        _BUDGETS,
        "INSERT INTO budgets (name, each, per, usd, over) VALUES ('user-daily', 'user', 'day', 0.5, 'economy')",
        "INSERT INTO budgets (name, each, per, usd, over) VALUES ('global-daily', 'all', 'day', 100, 'emergency')",
        "ALTER TABLE requests ADD COLUMN economy_model text NOT NULL DEFAULT '', "
        "ADD COLUMN budget text NOT NULL DEFAULT ''",
    ):
        op.execute(statement)
