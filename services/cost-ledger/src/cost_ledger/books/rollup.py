"""Adds up the rows again, in SQL, and compares the sums with spend_daily."""

from __future__ import annotations

from cost_ledger.rows import COUNTING_COST, JOIN_NEWEST_CORRECTION
from cost_ledger.spend_daily import KEY, SUMS

_WHO = "r.tenant, r.day, r.user_id, r.key_id, r.requested_model"

# $1 and $2: the days, both included; $3 and $4: the bounds of the ids of their requests.
# A request counts under the answer that it replayed, else under its last attempt; an attempt under its own model.
DIFFERENCES = f"""
WITH r AS MATERIALIZED (
    SELECT *, (admitted_at AT TIME ZONE 'UTC')::date AS day FROM requests
    WHERE state = 'settled' AND request_id BETWEEN $3 AND $4
        AND admitted_at >= $1::date AT TIME ZONE 'UTC' AND admitted_at < ($2::date + 1) AT TIME ZONE 'UTC'
),
parts AS (
    SELECT {_WHO},
        CASE WHEN is_replayed THEN saved_provider ELSE coalesce(l.provider, '') END AS provider,
        CASE WHEN is_replayed THEN saved_target_model ELSE coalesce(l.target_model, '') END AS target_model,
        r.template, 1 AS requests, 0 AS attempts, 0::bigint AS input_tokens, 0::bigint AS output_tokens,
        0::numeric AS cost_usd, 0 AS unpriced_attempts, (cache_status = 'hit')::int AS cache_hits,
        (cache_status = 'miss')::int AS cache_misses, (cache_status = 'bypass')::int AS cache_bypasses,
        coalesce(saved_cost_usd, 0) AS saved_cost_usd
    FROM (SELECT *, saved_provider <> '' OR saved_target_model <> '' AS is_replayed FROM r) AS r
    LEFT JOIN LATERAL (
        SELECT provider, target_model FROM attempts
        WHERE attempts.request_id = r.request_id ORDER BY attempt_number DESC LIMIT 1
    ) AS l ON true
    UNION ALL
    SELECT {_WHO}, a.provider, a.target_model, r.template, 0 AS requests, 1 AS attempts,
        coalesce(a.input_tokens, 0) AS input_tokens, coalesce(a.output_tokens, 0) AS output_tokens,
        coalesce({COUNTING_COST}, 0) AS cost_usd, (({COUNTING_COST}) IS NULL)::int AS unpriced_attempts,
        0 AS cache_hits, 0 AS cache_misses, 0 AS cache_bypasses, 0 AS saved_cost_usd
    FROM r JOIN attempts AS a ON a.request_id = r.request_id {JOIN_NEWEST_CORRECTION}
),
rows AS (
    SELECT {", ".join(KEY)}, {", ".join(f"sum({column}) AS {column}" for column in SUMS)}
    FROM parts GROUP BY {", ".join(KEY)}
),
kept AS (SELECT * FROM spend_daily WHERE day BETWEEN $1 AND $2)
SELECT {", ".join(KEY)},
    {", ".join(f"coalesce(rows.{column}, 0) AS rows_{column}" for column in SUMS)},
    {", ".join(f"coalesce(kept.{column}, 0) AS kept_{column}" for column in SUMS)}
FROM rows FULL JOIN kept USING ({", ".join(KEY)})
WHERE ({", ".join(f"coalesce(rows.{column}, 0)" for column in SUMS)})
    <> ({", ".join(f"coalesce(kept.{column}, 0)" for column in SUMS)})
ORDER BY {", ".join(KEY)}
"""  # noqa: S608 - columns of our own
