"""Step 8 with the real price book: what real answers cost, to the nano-dollar, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cost_ledger.prices.file import load_price_file
from cost_ledger.settings import PACKAGED_PRICE_BOOK
from pricing.cost import cost_of
from pricing.price_book import PriceBook
from pricing.usage import Usage

BOOK = PriceBook(load_price_file(PACKAGED_PRICE_BOOK).prices)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BEFORE_THE_CUT = datetime(2026, 10, 6, 23, 59, 59, 999_999, tzinfo=UTC)
THE_CUT = datetime(2026, 10, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "moment", "usage", "cost"),
    [
        # 1 x 0.10 and 1 x 0.50
        ("openai", "gpt-6-luna", NOW, Usage(1, 1), "0.000000600"),
        # 600 x 0.10 + 400 x 0.01; 70 x 0.50 + 30 x 0.50
        ("openai", "gpt-6-luna", NOW, Usage(1000, 100, 400, None, 30), "0.000114000"),
        # 500 x 0.10 + 400 x 0.01 + 100 x 0.125
        ("openai", "gpt-6-luna", NOW, Usage(1000, 0, 400, 100), "0.000066500"),
        # 272,000 x 0.10 + 8 x 0.50
        ("openai", "gpt-6-luna", NOW, Usage(272_000, 8), "0.027204000"),
        # 272,001 x 0.20 + 8 x 0.75
        ("openai", "gpt-6-luna", NOW, Usage(272_001, 8), "0.054406200"),
        # 799 x 2 + 200 x 0.20 + 1 x 2.50; 17 x 10
        ("openai", "gpt-6-sol", NOW, Usage(1000, 17, 200, 1, 5), "0.001810500"),
        # 200,000 x 4 + 100,000 x 0.40; 1,000 x 15
        ("openai", "gpt-6-sol", NOW, Usage(300_000, 1000, 100_000), "0.855000000"),
        # 10,000 x 0.10 + 80,000 x 0.01 + 10,000 x 0.125; 5 x 0.50
        ("anthropic", "claude-haiku-5-5", NOW, Usage(100_000, 5, 80_000, 10_000), "0.003052500"),
        # 10,001 x 0.50 + 80,000 x 0.05 + 10,000 x 0.625; 5 x 2.50
        ("anthropic", "claude-haiku-5-5", NOW, Usage(100_001, 5, 80_000, 10_000), "0.015263000"),
        # 100 x 2 + 900 x 0.20 + 1000 x 2.50; 3 x 10, and with reads at 0.10 from the cut on
        ("anthropic", "claude-sonnet-5-5", BEFORE_THE_CUT, Usage(2000, 3, 900, 1000), "0.002910000"),
        ("anthropic", "claude-sonnet-5-5", THE_CUT, Usage(2000, 3, 900, 1000), "0.002820000"),
        # No tier by length: 500,000 x 2
        ("anthropic", "claude-sonnet-5-5", NOW, Usage(500_000, 0), "1.000000000"),
        ("vllm", "smollm2-135m-instruct", NOW, Usage(10**9, 10**9), "0.000000000"),
    ],
)
def test_an_answer_costs_what_the_list_says(
    provider: str, model: str, moment: datetime, usage: Usage, cost: str
) -> None:
    """Cached, written and reasoning tokens each at their own rate; a long prompt changes the rate of all."""
    assert cost == f"{cost_of(usage, BOOK.price_at(provider, model, moment)):.9f}"


@pytest.mark.parametrize(
    ("provider", "model", "first_day"),
    [
        ("openai", "gpt-6-luna", datetime(2026, 9, 22, tzinfo=UTC)),
        ("openai", "gpt-6-sol", datetime(2026, 9, 22, tzinfo=UTC)),
        ("anthropic", "claude-sonnet-5-5", datetime(2026, 9, 28, tzinfo=UTC)),
        ("anthropic", "claude-haiku-5-5", datetime(2026, 10, 7, tzinfo=UTC)),
    ],
)
def test_a_model_has_no_price_before_it_was_sold(provider: str, model: str, first_day: datetime) -> None:
    """The price starts with the model's first day in UTC."""
    assert BOOK.price_at(provider, model, first_day) is not None
    assert BOOK.price_at(provider, model, first_day.replace(day=first_day.day - 1, hour=23)) is None


def test_every_price_names_its_source() -> None:
    """Every figure has its source and the day it was read, which is not in the future."""
    for price in load_price_file(PACKAGED_PRICE_BOOK).prices:
        assert price.source
        assert "2026-09-22" <= price.source_date <= "2026-11-28"
        # Vectors are not counted in tokens.
        has_output = not any(word in price.target_model for word in ("embed", "voyage"))
        assert Decimal(0) <= price.rates.input <= (price.rates.output if has_output else Decimal(1))
        assert has_output or price.rates.output == 0


def test_the_book_knows_the_models_of_today() -> None:
    """Sixty and more with list prices, of every vendor that the router tells by its address and that lists prices."""
    listed = [price for price in load_price_file(PACKAGED_PRICE_BOOK).prices if not price.is_estimated]
    now = [price for price in listed if price.effective_to is None]

    assert len({(price.provider, price.target_model) for price in now}) >= 60
    assert {"openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai", "openrouter", "together"} <= {
        price.provider for price in now
    }


def test_only_families_are_priced_by_estimate_and_say_so() -> None:
    """Their version ends with a mark, which rows and receipts show; a listed model never has it."""
    moment = datetime(2026, 11, 28, tzinfo=UTC)
    unlisted = BOOK.price_at("anthropic", "claude-sonnet-7", moment)
    listed = BOOK.price_at("anthropic", "claude-sonnet-5-5", moment)

    assert unlisted is not None
    assert listed is not None
    assert "anthropic/claude-sonnet-*@2026-11-01+estimated" == unlisted.price_version
    assert "anthropic/claude-sonnet-5-5@2026-11-28" == listed.price_version
    for price in load_price_file(PACKAGED_PRICE_BOOK).prices:
        assert price.is_estimated == price.target_model.endswith("*") == price.price_version.endswith("+estimated")


TODAY = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "cost"),
    [
        # 1,000,000 tokens written for an hour at 4.00, 10 x 2, 2 x 10; as five-minute writes it would be 2.50004
        (
            "anthropic",
            "claude-sonnet-5-5",
            Usage(1_000_010, 2, 0, 1_000_000, provider_cache_write_1h_input_tokens=1_000_000),
            "4.000040000",
        ),
        # Three searches at 0.01 and five minutes of code at 0.05 an hour.
        (
            "anthropic",
            "claude-sonnet-5-5",
            Usage(0, 0, web_search_requests=3, code_execution_seconds=300),
            "0.034166667",
        ),
        # (1,000 x 5 + 100 x 25) x 2 x 1.1
        ("anthropic", "claude-opus-5", Usage(1000, 100, service_tier="fast+us"), "0.016500000"),
        # Half of 1,000 x 2 + 100 x 10, and double of it.
        ("openai", "gpt-6-sol", Usage(1000, 100, service_tier="flex"), "0.001500000"),
        ("openai", "gpt-6-sol", Usage(1000, 100, service_tier="priority"), "0.006000000"),
        # 200 x 2.50 + 800 x 32; 20 x 10 + 80 x 64
        ("openai", "gpt-audio", Usage(1000, 100, audio_input_tokens=800, audio_output_tokens=80), "0.031420000"),
        ("openai", "gpt-4o-search-preview", Usage(1000, 100, web_search_requests=1), "0.028500000"),
        # Reasoning beside completion is output: 1,000 x 2 + 7,000 x 6
        ("xai", "grok-4.5", Usage(1000, 7000, reasoning_output_tokens=3000), "0.044000000"),
        # Prompts of 200,000 tokens cost double: 200,000 x 4
        ("xai", "grok-4.5", Usage(200_000, 0), "0.800000000"),
    ],
)
def test_what_vendors_bill_besides_plain_tokens_costs_what_the_list_says(
    provider: str, model: str, usage: Usage, cost: str
) -> None:
    """Writes of an hour, searches, code, tiers, speed, region, sound, long prompts."""
    assert cost == f"{cost_of(usage, BOOK.price_at(provider, model, TODAY)):.9f}"
