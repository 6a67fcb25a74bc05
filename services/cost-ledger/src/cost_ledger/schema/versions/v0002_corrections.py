"""Corrections of costs, templates, and the indexes that lists of requests are read by.

Expands only: code of revision 0001 goes on writing as before. The primary key of `spend_daily` leaves
`template` out until no such writer is left; the unique index beside it is what new writers go by.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# No foreign key: the partition of a correction's attempt may have been dropped.
_CORRECTIONS = """
CREATE TABLE corrections (
    request_id uuid NOT NULL,
    attempt_number integer NOT NULL,
    correction_number integer NOT NULL CHECK (correction_number >= 1),
    tenant text NOT NULL,
    before_cost_usd numeric(18,9),
    before_price_version text NOT NULL,
    cost_usd numeric(18,9),
    price_version text NOT NULL,
    reason text NOT NULL,
    corrected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, attempt_number, correction_number)
)
"""


def upgrade() -> None:
    """Add corrections, templates and indexes."""
    for statement in (
        _CORRECTIONS,
        "ALTER TABLE requests ADD COLUMN template text NOT NULL DEFAULT ''",
        "ALTER TABLE spend_daily ADD COLUMN template text NOT NULL DEFAULT ''",
        "CREATE UNIQUE INDEX spend_daily_by_template ON spend_daily "
        "(tenant, day, user_id, key_id, requested_model, provider, target_model, template)",
        # Pages of one tenant, newest first: a UUIDv7 is ordered by its time. A value that few requests have is found by
        # an index of its own, which leaves out the usual values (reading/requests.py).
        "CREATE INDEX requests_by_tenant ON requests (tenant, request_id DESC)",
        "CREATE INDEX requests_by_user ON requests (tenant, user_id, request_id DESC)",
        "CREATE INDEX requests_by_key ON requests (tenant, key_id, request_id DESC)",
        "CREATE INDEX requests_by_model ON requests (tenant, requested_model, request_id DESC)",
        "CREATE INDEX requests_by_template ON requests (tenant, template, request_id DESC) WHERE template <> ''",
        "CREATE INDEX requests_failed ON requests (tenant, outcome, request_id DESC) WHERE outcome NOT IN ('', 'ok')",
        "CREATE INDEX requests_unsettled ON requests (tenant, request_id DESC) WHERE state = 'unsettled'",
        # Costs are recorded in USD, and so are prices; another currency would need exchange rates with dates.
        "ALTER TABLE prices ADD COLUMN currency text NOT NULL DEFAULT 'USD' CHECK (currency = 'USD')",
        # For `reprice`: attempts of a model by time.
        "CREATE INDEX attempts_by_model ON attempts (provider, target_model, started_at)",
    ):
        op.execute(statement)
