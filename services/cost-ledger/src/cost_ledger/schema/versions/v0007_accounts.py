"""Tenants, teams, users and API keys, and the log of their changes.

Expands only: older code knows none of these tables.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# NULL in `disabled_at`: not disabled; in `tier`: that of the owner.
_TIER = "CHECK (tier IN ('free', 'premium', 'enterprise'))"
_TENANTS = f"""
CREATE TABLE tenants (
    tenant text PRIMARY KEY,
    name text NOT NULL DEFAULT '',
    tier text {_TIER},
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
)
"""

_TEAMS = """
CREATE TABLE teams (
    tenant text NOT NULL REFERENCES tenants,
    team text NOT NULL,
    name text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    PRIMARY KEY (tenant, team)
)
"""

_USERS = f"""
CREATE TABLE users (
    tenant text NOT NULL REFERENCES tenants,
    user_id text NOT NULL,
    name text NOT NULL DEFAULT '',
    team text,
    tier text {_TIER},
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    PRIMARY KEY (tenant, user_id),
    FOREIGN KEY (tenant, team) REFERENCES teams
)
"""

# The revision is unique, so that pages of changes are told apart by it alone.
_API_KEYS = f"""
CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    name text NOT NULL DEFAULT '',
    tenant text NOT NULL REFERENCES tenants,
    user_id text,
    team text,
    tier text {_TIER},
    roles text[] NOT NULL,
    models text[] NOT NULL DEFAULT '{{}}',
    endpoints text[] NOT NULL DEFAULT '{{}}',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    disabled_at timestamptz,
    last_characters text NOT NULL DEFAULT '',
    revision bigint NOT NULL UNIQUE,
    replaces text NOT NULL DEFAULT '',
    scheme text NOT NULL CHECK (scheme IN ('hmac_sha256', 'salted_sha256')),
    salt bytea NOT NULL DEFAULT '',
    hash bytea NOT NULL,
    pepper_id text NOT NULL DEFAULT '',
    CHECK (user_id IS NULL OR team IS NULL),
    FOREIGN KEY (tenant, user_id) REFERENCES users,
    FOREIGN KEY (tenant, team) REFERENCES teams
)
"""

_AUDIT_LOG = """
CREATE TABLE audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    tenant text NOT NULL,
    id text NOT NULL,
    before jsonb,
    after jsonb
)
"""


def upgrade() -> None:
    """Add the tables."""
    for statement in (
        _TENANTS,
        _TEAMS,
        _USERS,
        "CREATE INDEX users_by_team ON users (tenant, team, user_id)",
        _API_KEYS,
        "CREATE INDEX api_keys_by_user ON api_keys (tenant, user_id, key_id)",
        "CREATE INDEX api_keys_by_team ON api_keys (tenant, team, key_id)",
        # Counted in a row and not by a sequence: whoever changes it holds it until the commit, so revisions become
        # visible in their order, and whoever follows them misses none.
        "CREATE TABLE key_revision (revision bigint NOT NULL)",
        "INSERT INTO key_revision VALUES (0)",
        _AUDIT_LOG,
        "CREATE INDEX audit_log_by_tenant ON audit_log (tenant, audit_id)",
        "CREATE INDEX audit_log_by_id ON audit_log (kind, id, audit_id)",
    ):
        op.execute(statement)
