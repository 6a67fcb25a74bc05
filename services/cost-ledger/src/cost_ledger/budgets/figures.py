"""What somebody has spent in a period, by the books: the sums by day, and the requests of the days that it cuts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from cost_ledger.columns import by_column
from cost_ledger.connections import Connection
from cost_ledger.rows import COUNTING_COST, JOIN_NEWEST_CORRECTION

# A request has its id before the moment that counts: its body may come slowly.
_ID_IS_OLDER = timedelta(minutes=15)

_IS_SUBJECT = """
CASE w.each
    WHEN 'all' THEN true
    WHEN 'tenant' THEN {row}.tenant = w.tenant
    WHEN 'user' THEN {row}.tenant = w.tenant AND {row}.user_id = w.subject
    WHEN 'key' THEN {row}.tenant = w.tenant AND {row}.key_id = w.subject
    WHEN 'team' THEN {row}.tenant = w.tenant AND {row}.user_id IN (
        SELECT user_id FROM users WHERE users.tenant = w.tenant AND users.team = w.subject
        UNION ALL
        SELECT 'key:' || key_id FROM api_keys
        WHERE api_keys.tenant = w.tenant AND api_keys.team = w.subject AND user_id IS NULL
    )
END
"""
# The condition on the tenant stands by itself, so that the index of a tenant's days is used; `all` has none.
_OF_DAYS = f"""
SELECT w.number, coalesce(sum(spend.usd), 0) AS usd
FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::date[], $6::date[])
    AS w (number, each, tenant, subject, first, last)
CROSS JOIN LATERAL (
    SELECT sum(cost_usd) AS usd FROM spend_daily AS s
    WHERE s.day >= w.first AND s.day < w.last AND w.each <> 'all' AND s.tenant = w.tenant
        AND {_IS_SUBJECT.format(row="s")}
    UNION ALL
    SELECT sum(cost_usd) FROM spend_daily AS s WHERE s.day >= w.first AND s.day < w.last AND w.each = 'all'
) AS spend
GROUP BY w.number
"""  # noqa: S608 - no input in it
_OF_REQUESTS = f"""
SELECT w.number, coalesce(sum(spend.usd), 0) AS usd
FROM unnest(
    $1::int8[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[]
) AS w (number, each, tenant, subject, first, last, first_id, last_id)
CROSS JOIN LATERAL (
    SELECT sum({COUNTING_COST}) AS usd
    FROM requests AS r JOIN attempts AS a ON a.request_id = r.request_id {JOIN_NEWEST_CORRECTION}
    WHERE r.request_id >= w.first_id AND r.request_id < w.last_id
        AND r.admitted_at >= w.first AND r.admitted_at < w.last AND {_IS_SUBJECT.format(row="r")}
) AS spend
GROUP BY w.number
"""  # noqa: S608 - no input in it
_SETTLED = "SELECT request_id FROM requests WHERE request_id = ANY($1) AND state = 'settled'"


class Period(NamedTuple):
    """Whose spend of which time."""

    each: str
    tenant: str
    subject: str
    """The user, key or team; empty for a tenant and for all together."""
    first: datetime
    last: datetime
    """Up to, not including."""


async def spent(connection: Connection, periods: Sequence[Period]) -> list[int]:
    """Return what each has cost so far, in nano-USD; what is unpriced counts nothing."""
    days, parts = [], []
    for number, period in enumerate(periods):
        whose = (number, period.each, period.tenant, period.subject)
        first_day, last_day = _day_from(period.first), period.last.astimezone(UTC).date()
        if first_day < last_day:
            days.append((*whose, first_day, last_day))
            cuts = [(period.first, _midnight(first_day)), (_midnight(last_day), period.last)]
        else:
            cuts = [(period.first, period.last)]
        parts += [(*whose, first, last, *_ids(first, last)) for first, last in cuts if first < last]
    sums = [0] * len(periods)
    for statement, rows in ((_OF_DAYS, days), (_OF_REQUESTS, parts)):
        if rows:
            for row in await connection.fetch(statement, *by_column(rows)):
                sums[row["number"]] += int(row["usd"] * 10**9)
    return sums


async def settled_of(connection: Connection, request_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the requests whose end is in the books."""
    if not request_ids:
        return set()
    return {row["request_id"] for row in await connection.fetch(_SETTLED, request_ids)}


def _day_from(moment: datetime) -> date:
    """Return the first UTC day that begins at `moment` or later."""
    moment = moment.astimezone(UTC)
    is_midnight = moment == _midnight(moment.date())
    return moment.date() if is_midnight else moment.date() + timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _ids(first: datetime, last: datetime) -> tuple[uuid.UUID, uuid.UUID]:
    """Return between which ids requests of that time are: a UUIDv7 begins with its milliseconds."""
    lower, upper = (max(0, int(moment.timestamp() * 1000)) for moment in (first - _ID_IS_OLDER, last))
    return uuid.UUID(int=lower << 80), uuid.UUID(int=(upper + 1) << 80)
