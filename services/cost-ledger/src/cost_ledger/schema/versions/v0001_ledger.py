"""The tables of the ledger."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_USAGE = """
    {prefix}input_tokens bigint,
    {prefix}output_tokens bigint,
    {prefix}provider_cache_read_input_tokens bigint,
    {prefix}provider_cache_write_input_tokens bigint,
    {prefix}reasoning_output_tokens bigint,
"""

# Partitioned by the id itself: a UUIDv7 starts with its time, so a request's month follows from its id and the primary
# key covers the partition key. Any other id goes to the default partition.
_REQUESTS = f"""
CREATE TABLE requests (
    request_id uuid NOT NULL,
    tenant text NOT NULL,
    user_id text NOT NULL,
    key_id text NOT NULL,
    tier text NOT NULL,
    endpoint text NOT NULL,
    requested_model text NOT NULL,
    is_streaming boolean NOT NULL,
    admitted_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('admitted', 'settled', 'unsettled')),
    outcome text NOT NULL DEFAULT '',
    finish_reason text NOT NULL DEFAULT '',
    error_code text NOT NULL DEFAULT '',
    cache_status text NOT NULL DEFAULT '',
    cache_bypass_reason text NOT NULL DEFAULT '',
    settled_at timestamptz,
    duration interval,
    time_to_first_token interval,
    cost_usd numeric(18,9),
    saved_provider text NOT NULL DEFAULT '',
    saved_target_model text NOT NULL DEFAULT '',
    {_USAGE.format(prefix="saved_")}
    saved_cost_usd numeric(18,9),
    saved_price_version text NOT NULL DEFAULT '',
    PRIMARY KEY (request_id)
) PARTITION BY RANGE (request_id)
"""

_ATTEMPTS = f"""
CREATE TABLE attempts (
    request_id uuid NOT NULL,
    attempt_number integer NOT NULL CHECK (attempt_number >= 1),
    event_id uuid NOT NULL,
    target text NOT NULL,
    provider text NOT NULL,
    target_model text NOT NULL,
    response_model text NOT NULL,
    outcome text NOT NULL,
    error_code text NOT NULL,
    has_usage boolean NOT NULL,
    {_USAGE.format(prefix="")}
    usage_source text NOT NULL,
    started_at timestamptz NOT NULL,
    duration interval NOT NULL,
    time_to_first_chunk interval,
    http_status integer NOT NULL,
    provider_request_id text NOT NULL,
    finish_reason text NOT NULL,
    cost_usd numeric(18,9),
    price_version text NOT NULL,
    PRIMARY KEY (request_id, attempt_number),
    UNIQUE (event_id, request_id)
) PARTITION BY RANGE (request_id)
"""

_RATES = """
    {prefix}input numeric,
    {prefix}output numeric,
    {prefix}provider_cache_read_input numeric,
    {prefix}provider_cache_write_input numeric,
    {prefix}reasoning_output numeric,
"""

_PRICES = f"""
CREATE TABLE prices (
    price_version text PRIMARY KEY,
    provider text NOT NULL,
    target_model text NOT NULL,
    effective_from timestamptz NOT NULL,
    effective_to timestamptz CHECK (effective_to > effective_from),
    {_RATES.format(prefix="")}
    above_input_tokens bigint,
    {_RATES.format(prefix="long_prompt_")}
    source text NOT NULL,
    source_date date NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    CHECK (input >= 0 AND output >= 0),
    CHECK (above_input_tokens IS NULL OR (long_prompt_input >= 0 AND long_prompt_output >= 0))
)
"""

_SPEND_DAILY = """
CREATE TABLE spend_daily (
    tenant text NOT NULL,
    day date NOT NULL,
    user_id text NOT NULL,
    key_id text NOT NULL,
    requested_model text NOT NULL,
    provider text NOT NULL,
    target_model text NOT NULL,
    requests bigint NOT NULL,
    attempts bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost_usd numeric(24,9) NOT NULL,
    unpriced_attempts bigint NOT NULL,
    cache_hits bigint NOT NULL,
    cache_misses bigint NOT NULL,
    cache_bypasses bigint NOT NULL,
    saved_cost_usd numeric(24,9) NOT NULL,
    PRIMARY KEY (tenant, day, user_id, key_id, requested_model, provider, target_model)
)
"""


def upgrade() -> None:
    """Create requests, attempts, prices and spend_daily."""
    for statement in (
        _REQUESTS,
        "CREATE TABLE requests_default PARTITION OF requests DEFAULT",
        # For the sweep for unsettled requests; small, since nearly all rows are settled.
        "CREATE INDEX requests_admitted ON requests (admitted_at) WHERE state = 'admitted'",
        _ATTEMPTS,
        "CREATE TABLE attempts_default PARTITION OF attempts DEFAULT",
        _PRICES,
        _SPEND_DAILY,
    ):
        op.execute(statement)
