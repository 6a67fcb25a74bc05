"""Step 8 of the request path: usage and a price make a cost, exact to the nano-dollar; what is unknown is not zero."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.cost import FREE, Unpriced, cost_of, price_usage, total_of
from pricing.price_book import LongPromptRates, Price, PriceBook, Rates, ServiceTier, UseRates
from pricing.usage import Usage

PLAIN = Rates(Decimal("1.253"), Decimal("10.007"))
FULL = Rates(Decimal(2), Decimal(10), Decimal("0.2"), Decimal("2.5"), Decimal(9))
COUNTS = st.integers(0, 10**9)


def price(rates: Rates, long_prompt: LongPromptRates | None = None) -> Price:
    """Return a price with these rates."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Price("p/m@2026-01-01", "p", "m", start, None, rates, long_prompt, "made up", "2026-01-01")


@pytest.mark.parametrize(
    ("usage", "rates", "cost"),
    [
        (Usage(0, 0), PLAIN, "0"),
        (Usage(1, 0), PLAIN, "0.000001253"),
        (Usage(0, 1), PLAIN, "0.000010007"),
        (Usage(1000, 100), PLAIN, "0.0022537"),
        # 700 x 2 + 200 x 0.2 + 100 x 2.5; 60 x 10 + 40 x 9
        (Usage(1000, 100, 200, 100, 40), FULL, "0.00265"),
        # Everything read from the provider's cache, everything reasoning.
        (Usage(1000, 100, 1000, 0, 100), FULL, "0.0011"),
    ],
)
def test_each_kind_of_token_has_its_own_rate(usage: Usage, rates: Rates, cost: str) -> None:
    """Totals are inclusive: what was read, written or thought is taken out of them before the plain rate applies."""
    assert Decimal(cost) == cost_of(usage, price(rates))


def test_tokens_without_a_rate_of_their_own_cost_what_the_others_cost() -> None:
    """No rate for cache reads, writes or reasoning: the parts change nothing."""
    parts = Usage(1000, 100, 400, 300, 50)

    assert cost_of(Usage(1000, 100), price(PLAIN)) == cost_of(parts, price(PLAIN))


def test_a_rate_of_zero_is_a_rate() -> None:
    """Cache reads that are free cost nothing; they do not fall back to the rate of other input."""
    rates = Rates(Decimal(2), Decimal(10), provider_cache_read_input=Decimal(0))

    assert Decimal("0.0002") == cost_of(Usage(1000, 0, 900), price(rates))


@pytest.mark.parametrize("usage", [Usage(), Usage(100), Usage(None, 100), Usage(None, None, 10, 10, 10)])
def test_an_unknown_count_is_unpriced_and_not_free(usage: Usage) -> None:
    """Input and output must both be known; parts alone price nothing."""
    assert cost_of(usage, price(PLAIN)) is None


def test_without_a_price_there_is_no_cost() -> None:
    """Not even for no tokens at all: it is unknown whether they are free."""
    assert cost_of(Usage(100, 10), None) is None
    assert cost_of(Usage(0, 0), None) is None


def test_parts_that_exceed_their_total_never_make_it_negative() -> None:
    """A provider that reports more cached than input tokens is charged for what it reports, not credited."""
    assert Decimal("0.00004") == cost_of(Usage(100, 0, 200), price(FULL))
    assert Decimal("0.00018") == cost_of(Usage(0, 10, 0, 0, 20), price(FULL))


@pytest.mark.parametrize(("input_tokens", "cost"), [(999, "0.000999"), (1000, "0.001"), (1001, "0.002002")])
def test_a_long_prompt_changes_the_rate_of_every_token(input_tokens: int, cost: str) -> None:
    """Above the threshold and not at it, from the first token on."""
    tier = LongPromptRates(1000, Rates(Decimal(2), Decimal(20)))

    assert Decimal(cost) == cost_of(Usage(input_tokens, 0), price(Rates(Decimal(1), Decimal(10)), tier))


def test_a_long_prompt_makes_output_dearer_too() -> None:
    """The length that counts is that of the whole input, cached tokens included."""
    tier = LongPromptRates(1000, Rates(Decimal(2), Decimal(20), Decimal("0.5")))
    rates = Rates(Decimal(1), Decimal(10), Decimal("0.1"))

    # 1 x 2 + 1000 x 0.5 + 10 x 20
    assert Decimal("0.000702") == cost_of(Usage(1001, 10, 1000), price(rates, tier))


@pytest.mark.parametrize(
    ("rate", "cost"),
    [("0.0005", "0"), ("0.0015", "0.000000002"), ("0.0025", "0.000000002"), ("0.00051", "0.000000001")],
)
def test_half_a_nano_dollar_goes_to_the_even_neighbour(rate: str, cost: str) -> None:
    """Rounding has no direction, so that sums of many costs do not drift."""
    assert Decimal(cost) == cost_of(Usage(1, 0), price(Rates(Decimal(rate), Decimal(0))))


@given(COUNTS, COUNTS)
def test_a_cost_has_nine_places_and_is_exact(input_tokens: int, output_tokens: int) -> None:
    """With three places in a rate nothing is left to round: the figure equals integer arithmetic."""
    cost = cost_of(Usage(input_tokens, output_tokens), price(PLAIN))

    assert cost is not None
    assert -9 == cost.as_tuple().exponent
    assert input_tokens * 1253 + output_tokens * 10_007 == cost.scaleb(9)


def test_the_cost_of_attempts_is_their_sum() -> None:
    """Without attempts it is free; a free attempt adds nothing."""
    assert FREE == total_of([])
    assert Decimal("0.3") == total_of([Decimal("0.1"), FREE, Decimal("0.2")])


@pytest.mark.parametrize("costs", [[None], [Decimal(1), None], [None, Decimal(1)], [FREE, None, FREE]])
def test_a_sum_with_an_unknown_part_is_unknown(costs: list[Decimal | None]) -> None:
    """The priced part alone would read as the whole."""
    assert total_of(costs) is None


def test_free_is_written_with_nine_places() -> None:
    """As every other cost."""
    assert "0.000000000" == f"{FREE:.9f}"
    assert -9 == FREE.as_tuple().exponent


NANOS = st.integers(0, 10**14).map(lambda nanos: Decimal(nanos).scaleb(-9))
RATES = st.builds(Rates, NANOS, NANOS, st.none() | NANOS, st.none() | NANOS, st.none() | NANOS)
PARTS = st.integers(0, 10**9)


@given(RATES, PARTS, PARTS, PARTS, PARTS, PARTS)
def test_a_cost_is_exact_to_the_nano_dollar(
    rates: Rates, plain: int, read: int, written: int, said: int, thought: int
) -> None:
    """Against fractions, which never round: at most half a nano-dollar off, and a tie goes to the even one."""
    usage = Usage(plain + read + written, said + thought, read, written, thought)
    exact = sum(
        Fraction(tokens) * Fraction(rates.input if is_input else rates.output)
        if rate is None
        else tokens * Fraction(rate)
        for tokens, rate, is_input in (
            (plain, rates.input, True),
            (read, rates.provider_cache_read_input, True),
            (written, rates.provider_cache_write_input, True),
            (said, rates.output, False),
            (thought, rates.reasoning_output, False),
        )
    ) / Fraction(1_000_000)
    cost = cost_of(usage, price(rates))

    assert cost is not None
    # `round` of a fraction goes to the even one, too.
    assert Fraction(cost) == Fraction(round(exact * 10**9), 10**9)
    assert -9 == cost.as_tuple().exponent


EVERY = replace(
    price(
        Rates(
            Decimal(2),
            Decimal(10),
            Decimal("0.2"),
            Decimal("2.5"),
            Decimal(10),
            provider_cache_write_1h_input=Decimal(4),
            audio_input=Decimal(30),
            audio_output=Decimal(60),
            image_input=Decimal(5),
            image_output=Decimal(40),
        ),
        LongPromptRates(1000, Rates(Decimal(4), Decimal(20))),
    ),
    service_tiers={
        "flex": ServiceTier(Decimal("0.5")),
        "us": ServiceTier(Decimal("1.1")),
        "fast": ServiceTier(rates=Rates(Decimal(8), Decimal(40))),
        "priority": ServiceTier(
            rates=Rates(Decimal(3), Decimal(15)), long_prompt=LongPromptRates(1000, Rates(Decimal(6), Decimal(30)))
        ),
    },
    uses=UseRates(web_search=Decimal("0.01"), code_execution_hour=Decimal("0.05")),
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # 40 x 4 + 60 x 2.5 + 900 x 2
        (Usage(1000, 0, 0, 100, None, 40), "0.00211"),
        # 700 x 30 + 200 x 5 + 100 x 2; 70 x 60 + 20 x 40 + 10 x 10
        (
            Usage(
                1000,
                100,
                audio_input_tokens=700,
                image_input_tokens=200,
                audio_output_tokens=70,
                image_output_tokens=20,
            ),
            "0.0273",
        ),
        # Cached tokens are taken for text: 500 x 0.2 + 500 x 30
        (Usage(1000, 0, 500, audio_input_tokens=500), "0.0151"),
        (Usage(0, 0, web_search_requests=3), "0.03"),
        (Usage(0, 0, code_execution_seconds=720), "0.01"),
        (Usage(1000, 100, service_tier="flex"), "0.0015"),
        (Usage(1000, 100, service_tier="fast"), "0.012"),
        (Usage(1000, 100, service_tier="fast+us"), "0.0132"),
        # Long prompts: the multiple of their rates, the tier's own, searches as always.
        (Usage(2000, 100, service_tier="flex"), "0.005"),
        (Usage(2000, 100, service_tier="priority", web_search_requests=1), "0.025"),
    ],
)
def test_every_unit_has_its_own_price(usage: Usage, cost: str) -> None:
    """Writes of an hour, sound, pictures, tiers and what is billed by use."""
    assert Decimal(cost) == cost_of(usage, EVERY)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"provider_cache_write_1h_input_tokens": 1}, "cache writes of one hour"),
        ({"audio_input_tokens": 1}, "audio input"),
        ({"audio_output_tokens": 1}, "audio output"),
        ({"image_input_tokens": 1}, "image input"),
        ({"image_output_tokens": 1}, "image output"),
        ({"web_search_requests": 1}, "web searches"),
        ({"code_execution_seconds": 1}, "code execution"),
        ({"service_tier": "flex"}, "service tier 'flex'"),
        ({"unpriced_units": "hologram_tokens"}, "units without a count: hologram_tokens"),
    ],
)
def test_a_unit_without_a_price_makes_the_cost_unknown(more: dict[str, int | str], reason: str) -> None:
    """Never a smaller number; none of the unit is no reason, and the reason is told."""
    usage = Usage(100, 10, **more)  # type: ignore[arg-type]
    none_of_it = Usage(100, 10, **{name: 0 if isinstance(value, int) else "" for name, value in more.items()})  # type: ignore[arg-type]

    assert cost_of(usage, price(FULL)) is None
    with pytest.raises(Unpriced, match=reason):
        price_usage(usage, price(FULL))
    assert cost_of(Usage(100, 10), price(FULL)) == cost_of(none_of_it, price(FULL))


@pytest.mark.parametrize("tier", ["fast+priority", "fast+unknown", "+", "flex+"])
def test_tiers_that_have_no_price_together_make_the_cost_unknown(tier: str) -> None:
    """Two that each have rates of their own, one that nobody knows, none."""
    assert cost_of(Usage(100, 10, service_tier=tier), EVERY) is None


def test_a_long_prompt_is_not_priced_as_a_short_one_of_its_tier() -> None:
    """A tier with rates of its own says nothing of long prompts unless it has such rates as well."""
    assert cost_of(Usage(1001, 10, service_tier="fast"), EVERY) is None
    assert cost_of(Usage(1000, 10, service_tier="fast"), EVERY) is not None


def test_a_price_survives_its_message() -> None:
    """Everything that costs are computed from travels."""
    assert EVERY == Price.from_proto(EVERY.to_proto())
    usage = Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, service_tier="fast+us", unpriced_units="a,b")
    assert usage == Usage.from_proto(usage.to_proto())
    assert Usage() == Usage.from_proto(Usage().to_proto())


def test_a_family_prices_models_without_a_price_of_their_own() -> None:
    """The longest name decides; another provider's family does not."""
    start = EVERY.effective_from
    family = replace(EVERY, target_model="m-*", price_version="family", is_estimated=True)
    nearer = replace(family, target_model="m-2-*", price_version="nearer")
    own = replace(EVERY, target_model="m-2-large", price_version="own")
    book = PriceBook([family, nearer, own])

    found = {name: book.price_at("p", name, start) for name in ("m-2-large", "m-2-small", "m-1", "m", "m-*")}
    versions = {name: price.price_version if price else None for name, price in found.items()}
    assert {"m-2-large": "own", "m-2-small": "nearer", "m-1": "family", "m": None, "m-*": "family"} == versions
    assert book.price_at("q", "m-1", start) is None
    assert family.covers("p", "m-1")
    assert not family.covers("q", "m-1")
    assert not own.covers("p", "m-2-large-2")
