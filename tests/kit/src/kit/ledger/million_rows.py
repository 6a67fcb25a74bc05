"""A ledger with many requests of the last thirty days, made by PostgreSQL itself: a million in less than a minute."""

from __future__ import annotations

import asyncpg

# One request in 50,000 is `seldom`: who looks for it row by row reads nearly all. One in ten is another tenant's.
_REQUESTS = """
INSERT INTO requests (
    request_id, tenant, user_id, key_id, tier, endpoint, requested_model, is_streaming, admitted_at, state, outcome,
    finish_reason, cache_status, settled_at, duration, time_to_first_token, cost_usd, template, client_request_id
)
SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
        || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
       CASE WHEN n % 10 = 9 THEN 'globex' ELSE 'acme' END,
       CASE WHEN is_seldom THEN 'seldom' ELSE 'user-' || user_number END,
       CASE WHEN is_seldom THEN 'seldom' ELSE 'key-' || user_number || '-' || n % 2 END,
       'standard', '/chat',
       CASE WHEN is_seldom THEN 'seldom' WHEN n % 5 < 3 THEN 'fast' ELSE 'smart' END,
       true, moment,
       CASE WHEN n % 50000 = 2 THEN 'unsettled' ELSE 'settled' END,
       CASE WHEN n % 50000 = 2 THEN '' WHEN is_seldom THEN 'interrupted' WHEN n % 100 = 3 THEN 'provider_error'
            ELSE 'ok' END,
       'stop',
       CASE WHEN is_seldom THEN 'bypass' WHEN n % 5 = 4 THEN 'hit' ELSE 'miss' END,
       moment + interval '2 seconds', interval '2 seconds', interval '300 milliseconds', 0.000123,
       CASE WHEN is_seldom THEN 'seldom' WHEN n % 20 = 3 THEN 'summary' ELSE '' END,
       CASE WHEN is_seldom THEN 'seldom' WHEN n % 20 = 5 THEN 'shared' WHEN n % 4 < 2 THEN 'client-' || n END
FROM (
    SELECT n, n % 50000 = 1 AS is_seldom, n / 7 * 37 % 500 AS user_number, md5(n::text) AS hash,
           date_trunc('day', now(), 'UTC') - interval '29 days' + n * (interval '30 days' / $1::int) AS moment
    FROM generate_series(0, $1::int - 1) AS n
) AS each
"""
_ATTEMPTS = """
INSERT INTO attempts (
    request_id, attempt_number, event_id, target, provider, target_model, response_model, outcome, error_code,
    has_usage, input_tokens, output_tokens, usage_source, started_at, duration, http_status, provider_request_id,
    finish_reason, cost_usd, price_version
)
SELECT request_id, number, md5(request_id::text || number)::uuid, 'main',
       CASE WHEN user_id = 'seldom' THEN 'seldom' WHEN requested_model = 'fast' THEN 'openai' ELSE 'anthropic' END,
       CASE WHEN user_id = 'seldom' THEN 'seldom' WHEN requested_model = 'fast' THEN 'gpt-test' ELSE 'claude-test' END,
       'm', 'ok', '', true, 100, 20, 'reported', admitted_at, interval '1 second', 200, 'req-abc', 'stop', 0.000123,
       'openai/gpt-test@2026-06-01'
FROM requests, generate_series(1, CASE WHEN outcome = 'provider_error' THEN 2 ELSE 1 END) AS number
WHERE cache_status <> 'hit'
"""
_SPEND = """
INSERT INTO spend_daily
SELECT tenant, (admitted_at AT TIME ZONE 'UTC')::date, user_id, key_id, requested_model, provider, target_model,
       count(*), count(*), sum(input_tokens), sum(output_tokens), sum(attempts.cost_usd), 0, 0, count(*), 0, 0,
       min(template)
FROM requests JOIN attempts USING (request_id) GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_PARTITIONS = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('requests'::regclass, 'attempts'::regclass)
"""


async def fill(connection: asyncpg.Connection, rows: int) -> None:
    """Write `rows` requests and their attempts, without a log: they need not outlive a crash."""
    tables = [str(row[0]) for row in await connection.fetch(_PARTITIONS)]
    for table in (*tables, "spend_daily"):
        await connection.execute(f"ALTER TABLE {table} SET UNLOGGED")
    await connection.execute(_REQUESTS, rows, timeout=600)
    for statement in (_ATTEMPTS, _SPEND):
        await connection.execute(statement, timeout=600)
    for table in (*tables, "spend_daily", "corrections"):
        await connection.execute(f"VACUUM ANALYZE {table}", timeout=600)
