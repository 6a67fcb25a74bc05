"""What vendors bill besides plain tokens: counts of attempts and saved answers, and what a price knows of them.

Expands only: older code leaves the columns NULL. It prices attempts as before, without these units; what it recorded
does not change. A new column without a default rewrites no row.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COUNTS = (
    "provider_cache_write_1h_input_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "web_search_requests",
    "code_execution_seconds",
)
_TEXTS = ("service_tier", "unpriced_units")


def upgrade() -> None:
    """Add the columns."""
    for table, prefix in (("attempts", ""), ("requests", "saved_")):
        columns = [*((name, "bigint") for name in _COUNTS), *((name, "text") for name in _TEXTS)]
        added = ", ".join(f"ADD COLUMN {prefix}{name} {kind}" for name, kind in columns)
        op.execute(f"ALTER TABLE {table} {added}")
    # A `spillway.ledger.v1.Price` as JSON where a price has more than the columns of revision 0001 can hold.
    op.execute("ALTER TABLE prices ADD COLUMN more jsonb")
