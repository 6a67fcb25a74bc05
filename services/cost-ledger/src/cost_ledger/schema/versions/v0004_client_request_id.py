"""The client's own id of a request, beside the id that the edge minted.

Expands only: older code leaves the column NULL. The index holds only requests that have such an id.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the id to requests, and the index that lists are filtered by."""
    for statement in (
        "ALTER TABLE requests ADD COLUMN client_request_id text",
        "CREATE INDEX requests_by_client_id ON requests (tenant, client_request_id, request_id DESC) "
        "WHERE client_request_id IS NOT NULL",
    ):
        op.execute(statement)
