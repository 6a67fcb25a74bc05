"""Which price is in force when, and prices on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from pricing.price_book import LongPromptRates, Price, PriceBook, Rates
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
RATES = Rates(Decimal("1.25"), Decimal(10))


def price(start: datetime, end: datetime | None = None, model: str = "m", provider: str = "p") -> Price:
    """Return a price of this time."""
    return Price(f"{provider}/{model}@{start:%Y-%m-%d}", provider, model, start, end, RATES, None, "s", "2026-01-01")


OLD = price(datetime(2026, 1, 1, tzinfo=UTC), JUNE)
NEW = price(JUNE)
ENDED = price(OLD.effective_from, JUNE, "ended")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (OLD.effective_from - MOMENT, None),
        (OLD.effective_from, OLD),
        (JUNE - MOMENT, OLD),
        (JUNE, NEW),
        (datetime(2099, 1, 1, tzinfo=UTC), NEW),
        (datetime(2026, 6, 1, 1, tzinfo=timezone(timedelta(hours=2))), OLD),
        (datetime(2026, 5, 31, 23, tzinfo=timezone(timedelta(hours=-2))), NEW),
    ],
)
@pytest.mark.parametrize("order", [(OLD, NEW, ENDED), (NEW, ENDED, OLD)])
def test_a_price_holds_from_its_first_moment_until_the_next_one_begins(
    order: tuple[Price, ...], moment: datetime, expected: Price | None
) -> None:
    """Its start is included and its end is not, in any order of the book and any time zone."""
    assert expected == PriceBook(order).price_at("p", "m", moment)


def test_a_price_that_ended_without_a_next_one_leaves_the_model_unpriced() -> None:
    """An earlier price is not used instead."""
    book = PriceBook([ENDED])

    assert ENDED == book.price_at("p", "ended", JUNE - MOMENT)
    assert book.price_at("p", "ended", JUNE) is None


def test_of_two_prices_in_force_the_later_one_counts() -> None:
    """An operator who forgot an end gets the newer price."""
    forgotten = price(datetime(2026, 1, 1, tzinfo=UTC))

    assert NEW == PriceBook([NEW, forgotten]).price_at("p", "m", JUNE)
    assert forgotten == PriceBook([NEW, forgotten]).price_at("p", "m", JUNE - MOMENT)


def test_a_model_of_another_provider_is_another_model() -> None:
    """The same name elsewhere has a price of its own, or none; an empty book prices nothing."""
    book = PriceBook([NEW, price(JUNE, provider="q", model="x")])

    assert book.price_at("q", "m", JUNE) is None
    assert book.price_at("p", "M", JUNE) is None
    assert PriceBook([]).price_at("p", "m", JUNE) is None


@pytest.mark.parametrize("end", [None, JUNE])
@pytest.mark.parametrize("rates", [RATES, Rates(*map(Decimal, ("0.1", "0.5", "0", "0.000000001", "99999.999999999")))])
@pytest.mark.parametrize("long_prompt", [None, LongPromptRates(272_000, Rates(Decimal(2), Decimal(15), Decimal(0)))])
def test_a_price_survives_the_wire(end: datetime | None, rates: Rates, long_prompt: LongPromptRates | None) -> None:
    """Every figure exactly, a rate of zero as zero, and what is absent as absent."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    sent = Price("p/m@2026-01-01", "p", "m", start, end, rates, long_prompt, "a page", "2026-01-02")
    received = Price.from_proto(ledgerpb.Price.FromString(sent.to_proto().SerializeToString()))

    assert sent == received
