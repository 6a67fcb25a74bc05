"""Sums by prompt template: what two templates of one day and model have spent are two rows, and neither is lost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cost_ledger.recording.price import price_settled
from kit.ledger.cost_events import attempt, read_settled, request, settled, used
from kit.ledger.process import Parts
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

# 100 in, 20 out at the rates of the tests' price book.
COST = Decimal("0.000650880")


def made_from(template: str) -> ledgerpb.CostEvent:
    """Return the end of a request that a template has made; all have the same user, key, model and target."""
    asked = request(user="ada")
    asked.template = template
    return settled(asked, [attempt(1, usage=used())])


@pytest.mark.parametrize("at_once", [True, False])
async def test_two_templates_of_one_day_and_model_have_a_row_each(parts: Parts, at_once: bool) -> None:
    """In one batch or one after the other; a second request of each adds to its own, and the whole is their sum."""
    book = await parts.prices.book()
    events = [made_from(template) for template in ("", "greeting", "summary", "greeting", "")]
    ends = [price_settled(read_settled(event), book) for event in events]
    for batch in [ends] if at_once else [[end] for end in ends]:
        await parts.store.record([], batch)

    assert [("", 2, 2, 2 * COST), ("greeting", 2, 2, 2 * COST), ("summary", 1, 1, COST)] == sorted(
        await parts.rows("spend_daily", "template, requests, attempts, cost_usd")
    )
    assert [(5, 5 * COST)] == await parts.rows("(SELECT sum(requests)::int, sum(cost_usd) FROM spend_daily)")
