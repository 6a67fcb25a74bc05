"""Captured texts of tenants that want it, sealed before they come here.

Expands only: older code knows neither the table nor the column. A column with a constant default rewrites no row.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Not partitioned: each row has an end of its own, and rows are erased by tenant and user too.
_CAPTURED_TEXTS = """
CREATE TABLE captured_texts (
    request_id uuid PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants,
    user_id text NOT NULL,
    asked_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    key_id text NOT NULL,
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL
)
"""


def upgrade() -> None:
    """Add the table and the column."""
    for statement in (
        "ALTER TABLE tenants ADD COLUMN capture_days integer NOT NULL DEFAULT 0 CHECK (capture_days BETWEEN 0 AND 365)",
        "CREATE INDEX tenants_that_capture ON tenants (tenant) WHERE capture_days > 0",
        _CAPTURED_TEXTS,
        # What is sealed cannot be compressed.
        "ALTER TABLE captured_texts ALTER COLUMN ciphertext SET STORAGE EXTERNAL",
        "CREATE INDEX captured_texts_by_end ON captured_texts (expires_at)",
        "CREATE INDEX captured_texts_by_tenant ON captured_texts (tenant, request_id)",
        "CREATE INDEX captured_texts_by_user ON captured_texts (tenant, user_id, request_id)",
    ):
        op.execute(statement)
