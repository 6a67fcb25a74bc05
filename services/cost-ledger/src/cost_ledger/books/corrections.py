"""What counts of an attempt: the newest correction of its cost, else the cost as it was recorded."""

from __future__ import annotations

# Joins the newest correction of attempt `a` as `c`; without one its columns are NULL.
JOIN_NEWEST = """
LEFT JOIN LATERAL (
    SELECT correction_number, cost_usd, price_version FROM corrections
    WHERE corrections.request_id = a.request_id AND corrections.attempt_number = a.attempt_number
    ORDER BY correction_number DESC LIMIT 1
) AS c ON true
"""
COUNTING_COST = "CASE WHEN c.correction_number IS NULL THEN a.cost_usd ELSE c.cost_usd END"
COUNTING_VERSION = "coalesce(c.price_version, a.price_version)"
