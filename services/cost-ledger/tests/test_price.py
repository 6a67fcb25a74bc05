"""Step 8: an attempt without a price is counted each time and logged once an hour."""

from __future__ import annotations

import asyncio

import httpx2

from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.price import UnpricedModels
from kit.ledger.cost_events import MORNING, attempt, request, settled, used
from kit.ledger.process import LedgerProcess, Parts, until


def test_a_model_without_a_price_is_logged_once_an_hour() -> None:
    """With the number of attempts since the last line; each model separately."""
    models = UnpricedModels()
    counts = [models.count("openai", "new", float(seconds)) for seconds in range(0, 7201, 900)]

    assert [1, None, None, None, 4, None, None, None, 4] == counts
    assert 1 == models.count("openai", "newer", 7201.0)
    assert 1 == models.count("vllm", "new", 7201.0)


def test_invented_model_names_fill_no_memory() -> None:
    """Some are logged a second time instead."""
    models = UnpricedModels()

    assert [1] * 5000 == [models.count("openai", f"model-{number}", 0.0) for number in range(5000)]
    assert len(models._due) <= 1000


async def test_each_unpriced_attempt_is_counted_and_its_model_logged_once(parts: Parts, ledger: LedgerProcess) -> None:
    """The counter is what an alert goes by; the log says which model it is."""
    await parts.send(*(settled(request(), [attempt(model="new", usage=used())]) for _ in range(20)))
    await until(parts.is_drained)

    lines = [line for line in ledger.log_lines() if line["event"] == "model_unpriced"]
    assert [("openai", "new", 1, "error")] == [
        (line["provider"], line["target_model"], line["attempts"], line["level"]) for line in lines
    ]
    assert 'cost_ledger_unpriced_attempts_total{provider="openai"} 20.0' in httpx2.get(ledger.metrics_url).text
    assert [(None,)] * 20 == [tuple(row) for row in await parts.pool.fetch("SELECT cost_usd FROM attempts")]


async def test_no_caller_gets_a_book_that_was_not_read(parts: Parts) -> None:
    """However the first reads overlap, also while a connection is released after one: every book has the prices."""
    prices = PriceList(parts.pool, 10.0)
    first = asyncio.create_task(prices.refresh())
    books = []
    while not first.done():
        books.append(asyncio.create_task(prices.book()))
        await asyncio.sleep(0)

    known = [(await book).price_at("openai", "gpt-test", MORNING) for book in books]
    assert len(books) > 1
    assert None not in known
