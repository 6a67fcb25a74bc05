"""The commands `prices list`, `check`, `import` and `missing`."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from cost_ledger.commands.command_line import Status, add_days, check_days, connected, day, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.prices.book import Import, import_price_book, read_prices
from cost_ledger.prices.file import load_price_file
from cost_ledger.prices.missing import MissingPrice, missing_prices
from cost_ledger.settings import Settings
from pricing.price_book import RATES, LongPromptRates, Price, Rates, UseRates

# Those that most prices have.
_FIRST_RATES = 5


def add_prices(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `prices`; each sets `work`, which returns the status."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show the recorded prices")
    listing.add_argument("--at", type=day, metavar="DAY", help="only those in force on this day")
    listing.add_argument("--provider", help="only prices of this provider")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(work=_prices_list)
    for name, work, text in (
        ("check", _prices_check, "say what an import of FILE would do; status 1 when it would be refused"),
        ("import", _prices_import, "import the prices of FILE into the book"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument(
            "--backdate", action="store_true", help="allow prices that change what recorded attempts cost"
        )
        command.set_defaults(work=work)
    missing = commands.add_parser("missing", help="models that were used and have no price")
    add_days(missing, "requests admitted on")
    missing.set_defaults(work=_prices_missing)


async def _prices_list(settings: Settings, arguments: argparse.Namespace) -> int:
    async with connected(settings) as connection:
        prices = await read_prices(connection)
    at = None if arguments.at is None else datetime.combine(arguments.at, time(), tzinfo=UTC)
    chosen = sorted(
        (
            price
            for price in prices
            if (at is None or price.in_force(at)) and arguments.provider in (None, price.provider)
        ),
        key=lambda price: (price.provider, price.target_model, price.effective_from),
    )
    if arguments.json:
        say(json.dumps([_price_object(price) for price in chosen], indent=2))
        return Status.OK
    header = ("price version", "until", "input", "output", "cache read", "cache write", "reasoning", "long prompt")
    say(
        *table_lines((*header, "more", "source"), [_price_cells(price) for price in chosen]),
        "USD per million tokens; `until` is the first UTC day on which a price no longer holds",
    )
    return Status.OK


def _price_cells(price: Price) -> list[str]:
    longer = price.long_prompt
    return [
        price.price_version,
        "" if price.effective_to is None else f"{price.effective_to:%Y-%m-%d}",
        *[_rates_of(price.rates)[name] for name in RATES[:_FIRST_RATES]],
        "" if longer is None else f"over {longer.above_input_tokens}: {longer.rates.input} / {longer.rates.output}",
        ", ".join(_more_of(price)),
        f"{price.source}, {price.source_date}",
    ]


def _more_of(price: Price) -> list[str]:
    """Return the names of whatever else a price knows; `--json` has the figures."""
    rates = [name for name in RATES[_FIRST_RATES:] if getattr(price.rates, name) is not None]
    uses = [name for name in UseRates.__slots__ if getattr(price.uses, name) is not None]
    return [*rates, *price.service_tiers, *uses]


def _rates_of(rates: Rates) -> dict[str, str]:
    return {name: _decimal_text(getattr(rates, name)) for name in RATES}


def _decimal_text(value: Decimal | None) -> str:
    return "" if value is None else f"{value.normalize():f}"


def _price_object(price: Price) -> dict[str, Any]:
    return {
        "price_version": price.price_version,
        "provider": price.provider,
        "target_model": price.target_model,
        "effective_from": f"{price.effective_from:%Y-%m-%d}",
        "effective_to": None if price.effective_to is None else f"{price.effective_to:%Y-%m-%d}",
        "currency": "USD",
        "rates": _rates_object(price.rates),
        "long_prompt": _long_prompt_object(price.long_prompt),
        **_more_object(price),
        "source": price.source,
        "source_date": price.source_date,
    }


def _more_object(price: Price) -> dict[str, Any]:
    """Return what few prices have, and only that."""
    uses = {name: text for name in UseRates.__slots__ if (text := _decimal_text(getattr(price.uses, name)))}
    tiers = {
        name: {
            "multiplier": _decimal_text(tier.multiplier),
            "rates": None if tier.rates is None else _rates_object(tier.rates),
            "long_prompt": _long_prompt_object(tier.long_prompt),
        }
        for name, tier in price.service_tiers.items()
    }
    more = {"service_tiers": tiers, "uses": uses, "estimated": price.is_estimated}
    return {name: value for name, value in more.items() if value}


def _rates_object(rates: Rates) -> dict[str, str | None]:
    """Return the rates that a price has, and the first five of all."""
    return {name: rate or None for name, rate in _rates_of(rates).items() if rate or name in RATES[:_FIRST_RATES]}


def _long_prompt_object(longer: LongPromptRates | None) -> dict[str, Any] | None:
    if longer is None:
        return None
    return {"above_input_tokens": longer.above_input_tokens, "rates": _rates_object(longer.rates)}


async def _prices_import(settings: Settings, arguments: argparse.Namespace) -> int:
    return await _import(settings, arguments, dry_run=False)


async def _prices_check(settings: Settings, arguments: argparse.Namespace) -> int:
    return await _import(settings, arguments, dry_run=True)


async def _import(settings: Settings, arguments: argparse.Namespace, *, dry_run: bool) -> int:
    file = load_price_file(arguments.file)
    async with connected(settings) as connection:
        done = await import_price_book(connection, file.prices, may_backdate=arguments.backdate, dry_run=dry_run)
    say(*_import_lines(done, len(file.prices), dry_run=dry_run))
    return Status.OK


def _import_lines(done: Import, prices: int, *, dry_run: bool) -> list[str]:
    adds, ends = ("would add", "would end") if dry_run else ("added", "ended")
    lines = [f"{adds} {price.price_version}" for price in done.plan.new]
    for price, end in done.plan.moved:
        before = "open" if price.effective_to is None else f"until {price.effective_to:%Y-%m-%d}"
        lines.append(
            f"{ends} {price.price_version}: {'open' if end is None else f'until {end:%Y-%m-%d}'}, was {before}"
        )
    for each in done.touched:
        span = f"from {each.time.start:%Y-%m-%d}" + ("" if each.time.end is None else f" to {each.time.end:%Y-%m-%d}")
        lines.append(
            f"reprice is due: {each.attempts:,} attempts of {each.time.provider}/{each.time.target_model} {span} "
            f"({each.priced_attempts:,} of them have a cost already)"
        )
    if not done.changed:
        return [f"nothing to do: all {prices} prices of the file are recorded"]
    if not dry_run:
        lines.append("running ledgers and edges take the prices within 30 s")
    return lines


async def _prices_missing(settings: Settings, arguments: argparse.Namespace) -> int:
    check_days(arguments)
    async with connected(settings) as connection:
        missing = await missing_prices(connection, arguments.first, arguments.last)
    if not missing:
        say("every attempt with usage has a cost")
        return Status.OK
    header = ("provider", "target model", "attempts", "uncounted", "input", "output", "first", "last", "price")
    rows = [
        [
            each.provider,
            each.target_model,
            f"{each.attempts:,}",
            f"{each.uncounted_attempts:,}",
            f"{each.input_tokens:,}",
            f"{each.output_tokens:,}",
            each.first_used.isoformat(),
            each.last_used.isoformat(),
            _price_of(each),
        ]
        for each in missing
    ]
    say(
        *table_lines(header, rows),
        "`uncounted` attempts lack a token count: no price makes a cost of them",
        *[_rates_missing(each) for each in missing if each.without_rate],
    )
    return Status.OK


def _price_of(missing: MissingPrice) -> str:
    if missing.without_rate:
        return "there is one, but see below"
    return "there is one: reprice" if missing.has_price else "none"


def _rates_missing(missing: MissingPrice) -> str:
    return f"{missing.provider}/{missing.target_model} has no rate for: {'; '.join(missing.without_rate)}"
