"""Records name the columns of the tables: every value is written to, and read from, the column of its own name."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest

from cost_ledger.columns import Columns, by_column, columns_of, insert_rows
from cost_ledger.rows import (
    ATTEMPT_COLUMNS,
    CORRECTION_COLUMNS,
    REQUEST_COLUMNS,
    AttemptFacts,
    AttemptRow,
    Cost,
    RequestEnd,
    RequestFacts,
    RequestRow,
    SavedAnswer,
)
from cost_ledger.spend_daily import SpendKey, SpendSums
from kit.ledger.cost_events import MORNING, new_id
from kit.ledger.process import Parts
from pricing.usage import Usage

# What PostgreSQL calls the types that are written, and those that a column may have for them.
TYPES = {
    "uuid": {"uuid"},
    "text": {"text"},
    "bool": {"boolean"},
    "int8": {"bigint", "integer"},
    "numeric": {"numeric"},
    "timestamptz": {"timestamp with time zone"},
    "date": {"date"},
    "interval": {"interval"},
}
REQUEST = RequestRow(
    facts=RequestFacts(
        request_id=uuid.UUID(new_id()),
        tenant="a tenant",
        user_id="a user",
        key_id="a key",
        tier="a tier",
        endpoint="/an/endpoint",
        requested_model="a model",
        is_streaming=True,
        admitted_at=MORNING,
        template="a template",
        client_request_id="an id",
    ),
    state="settled",
    end=RequestEnd(
        outcome="an outcome",
        finish_reason="a reason",
        error_code="a code",
        cache_status="a status",
        cache_bypass_reason="a bypass",
        settled_at=MORNING + timedelta(seconds=1),
        duration=timedelta(seconds=2),
        time_to_first_token=timedelta(seconds=3),
        cost_usd=Decimal(1),
        economy_model="an economy model",
        budget="a budget",
    ),
    saved=SavedAnswer("a provider", "a target model", Usage(1, 2, 3, 4, 5)),
    saved_cost=Cost(Decimal(2), "a price"),
)
ATTEMPT = AttemptRow(
    request_id=REQUEST.facts.request_id,
    facts=AttemptFacts(
        attempt_number=7,
        event_id=uuid.uuid4(),
        target="a target",
        provider="a provider",
        target_model="a target model",
        response_model="a response model",
        outcome="an outcome",
        error_code="a code",
        usage_source="a source",
        started_at=MORNING,
        duration=timedelta(seconds=1),
        time_to_first_chunk=timedelta(seconds=2),
        http_status=200,
        provider_request_id="an id",
        finish_reason="a reason",
        dropped="a field\nanother field",
    ),
    usage=Usage(1, 2, 3, 4, 5),
    cost=Cost(Decimal(3), "a price"),
)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("requests", REQUEST_COLUMNS),
        ("attempts", ATTEMPT_COLUMNS),
        ("corrections", CORRECTION_COLUMNS),
        ("spend_daily", columns_of(SpendKey) | columns_of(SpendSums)),
    ],
)
async def test_each_column_is_in_its_table_with_its_type(parts: Parts, table: str, columns: Columns) -> None:
    """A column that is in the table only has a default, or the old and the new code could not write side by side."""
    rows = await parts.pool.fetch(
        "SELECT column_name, data_type, column_default IS NULL AND is_nullable = 'NO' AS is_required"
        " FROM information_schema.columns WHERE table_name = $1",
        table,
    )
    types = {row["column_name"]: row["data_type"] for row in rows}

    assert columns.keys() == {name for name in columns if types.get(name) in TYPES[columns[name]]}
    assert columns.keys() >= {row["column_name"] for row in rows if row["is_required"]}


@pytest.mark.parametrize(
    "row",
    [
        REQUEST,
        RequestRow(REQUEST.facts._replace(client_request_id=None), "admitted"),
        REQUEST._replace(saved=None, saved_cost=Cost(None)),
    ],
)
async def test_a_request_is_read_as_it_was_written(parts: Parts, row: RequestRow) -> None:
    """Every value differs from those beside it, so that two that changed places would be seen."""
    await parts.pool.execute(insert_rows("requests", REQUEST_COLUMNS), *by_column([row.values()]))

    [found] = await parts.pool.fetch("SELECT * FROM requests")
    assert row == RequestRow.read(found)


@pytest.mark.parametrize("row", [ATTEMPT, ATTEMPT._replace(usage=None), ATTEMPT._replace(cost=Cost(None))])
async def test_an_attempt_is_read_as_it_was_written(parts: Parts, row: AttemptRow) -> None:
    """With usage, without, and without a price."""
    await parts.pool.execute(insert_rows("attempts", ATTEMPT_COLUMNS), *by_column([row.values()]))

    [found] = await parts.pool.fetch("SELECT * FROM attempts")
    assert row == AttemptRow.read(found)
