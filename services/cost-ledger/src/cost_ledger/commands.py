"""The operator's commands: prices, reprice, verify, reconcile.

Status 0: done, and all is well. 1: what was checked is not well, or was refused, and the output says what. 2: it could
not be done: a wrong argument, an export that cannot be read, no database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import asyncpg

from cost_ledger.errors import CommandRefused, ImportRefused, LedgerError, PriceBookInvalid, UsageExportInvalid
from cost_ledger.migrate import connect
from cost_ledger.missing_prices import missing_prices
from cost_ledger.price_book import Import, import_price_book, read_prices
from cost_ledger.price_file import load_price_file
from cost_ledger.reconcile import Line, Reconciliation, reconcile
from cost_ledger.reprice import Difference, Reprice, RepriceScope
from cost_ledger.settings import Settings
from cost_ledger.text_table import table_lines
from cost_ledger.usage_export import read_usage_exports
from cost_ledger.verify import Verification
from pricing.price_book import Price, Rates
from servicekit.settings import load_settings

# For one statement; the longest adds up every row that is kept.
_STATEMENT_TIMEOUT_SECONDS = 900.0
_WELL, _NOT_WELL, _NOT_DONE = 0, 1, 2


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its status; what goes wrong is told on standard error, never as a traceback."""
    parsed = _parser().parse_args(arguments)
    work: Callable[[Settings, argparse.Namespace], Awaitable[int]] = parsed.work
    settings = load_settings(Settings)

    async def main() -> int:
        return await work(settings, parsed)

    try:
        return asyncio.run(main())
    except PriceBookInvalid as error:
        return _fail(_NOT_WELL, *error.faults)
    except ImportRefused as error:
        file = load_price_file(parsed.file)
        return _fail(_NOT_WELL, f"{file.place_of(error.price_versions[0])}: {error}")
    except UsageExportInvalid as error:
        more = [] if error.count == len(error.faults) else [f"and {error.count - len(error.faults)} more"]
        return _fail(_NOT_DONE, *error.faults, *more)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return _fail(_NOT_DONE, "the database is of an older version: run `python -m cost_ledger migrate`")
    except (LedgerError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        told = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        return _fail(_NOT_DONE, " ".join(told.split()))
    except KeyboardInterrupt:
        return _fail(130, "interrupted; what was told is written, the rest is as it was")


def _fail(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"cost_ledger: {line}\n")
    return status


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(settings, command_timeout_seconds=_STATEMENT_TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        # Not `close`, which waits for a server that may hang; every transaction is over or given up by now.
        connection.terminate()


async def _prices_list(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _connected(settings) as connection:
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
        _say(json.dumps([_price_object(price) for price in chosen], indent=2))
        return _WELL
    header = ("price version", "until", "input", "output", "cache read", "cache write", "reasoning", "long prompt")
    _say(
        *table_lines((*header, "source"), [_price_cells(price) for price in chosen]),
        "USD per million tokens; `until` is the first UTC day on which a price no longer holds",
    )
    return _WELL


def _price_cells(price: Price) -> list[str]:
    longer = price.long_prompt
    return [
        price.price_version,
        "" if price.effective_to is None else f"{price.effective_to:%Y-%m-%d}",
        *_rates_of(price.rates).values(),
        "" if longer is None else f"over {longer.above_input_tokens}: {longer.rates.input} / {longer.rates.output}",
        f"{price.source}, {price.source_date}",
    ]


def _rates_of(rates: Rates) -> dict[str, str]:
    return {name: "" if (rate := getattr(rates, name)) is None else f"{rate.normalize():f}" for name in Rates.__slots__}


def _price_object(price: Price) -> dict[str, Any]:
    longer = price.long_prompt
    return {
        "price_version": price.price_version,
        "provider": price.provider,
        "target_model": price.target_model,
        "effective_from": f"{price.effective_from:%Y-%m-%d}",
        "effective_to": None if price.effective_to is None else f"{price.effective_to:%Y-%m-%d}",
        "currency": "USD",
        "rates": {name: rate or None for name, rate in _rates_of(price.rates).items()},
        "long_prompt": None
        if longer is None
        else {
            "above_input_tokens": longer.above_input_tokens,
            "rates": {name: rate or None for name, rate in _rates_of(longer.rates).items()},
        },
        "source": price.source,
        "source_date": price.source_date,
    }


async def _prices_import(settings: Settings, arguments: argparse.Namespace) -> int:
    return await _import(settings, arguments, dry_run=False)


async def _prices_check(settings: Settings, arguments: argparse.Namespace) -> int:
    return await _import(settings, arguments, dry_run=True)


async def _import(settings: Settings, arguments: argparse.Namespace, *, dry_run: bool) -> int:
    file = load_price_file(arguments.file)
    async with _connected(settings) as connection:
        done = await import_price_book(connection, file.prices, may_backdate=arguments.backdate, dry_run=dry_run)
    _say(*_import_lines(done, len(file.prices), dry_run=dry_run))
    return _WELL


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
            f"({each.priced_attempts:,} of them have a cost by now)"
        )
    if not done.changed:
        return [f"nothing to do: all {prices} prices of the file are recorded"]
    if not dry_run:
        lines.append("running ledgers and edges take the prices within 30 s")
    return lines


async def _prices_missing(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _connected(settings) as connection:
        missing = await missing_prices(connection, arguments.first, arguments.last)
    if not missing:
        _say("every attempt with usage has a cost")
        return _WELL
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
            "there is one: reprice" if each.has_price else "none",
        ]
        for each in missing
    ]
    _say(*table_lines(header, rows), "`uncounted` attempts lack a token count: no price makes a cost of them")
    return _WELL


async def _reprice(settings: Settings, arguments: argparse.Namespace) -> int:
    _check_days(arguments)
    scope = RepriceScope(arguments.first, arguments.last, arguments.provider, arguments.model)

    def tell(progress: str) -> None:
        sys.stderr.write(f"reprice: {progress}\n")

    async with _connected(settings) as connection:
        run = Reprice(connection, scope, dry_run=arguments.dry_run, told=tell)
        try:
            await run.run()
        finally:
            _say(*_difference_lines(run, dry_run=arguments.dry_run))
    return _WELL


def _difference_lines(run: Reprice, *, dry_run: bool) -> list[str]:
    header = (
        "provider",
        "target model",
        "day",
        "attempts",
        "before",
        "after",
        "difference",
        "newly priced",
        "unpriced",
    )
    total = Difference()
    rows = []
    for (provider, model, day), each in sorted(run.differences.items()):
        rows.append([provider, model, day.isoformat(), *_difference_cells(each)])
        total.attempts += each.attempts
        total.before_usd += each.before_usd
        total.after_usd += each.after_usd
        total.newly_priced += each.newly_priced
        total.newly_unpriced += each.newly_unpriced
    lines = table_lines(header, [*rows, ["total", "", "", *_difference_cells(total)]]) if rows else []
    written = "would be corrected" if dry_run else "corrected"
    lines.append(f"{run.seen:,} attempts looked at, {total.attempts:,} {written}")
    if run.without_request:
        lines.append(f"{run.without_request:,} left as they are: they have no request (see `verify`)")
    if run.too_large:
        lines.append(f"{run.too_large:,} left as they are: a cost of a billion USD cannot be recorded")
    return lines


def _difference_cells(each: Difference) -> list[str]:
    return [
        f"{each.attempts:,}",
        f"{each.before_usd:.9f}",
        f"{each.after_usd:.9f}",
        f"{each.after_usd - each.before_usd:+.9f}",
        f"{each.newly_priced:,}",
        f"{each.newly_unpriced:,}",
    ]


async def _verify(settings: Settings, arguments: argparse.Namespace) -> int:
    _check_days(arguments)
    counts: dict[str, int] = {}
    async with _connected(settings) as connection:
        check = Verification(connection, arguments.first, arguments.last)
        async with aclosing(check.mismatches()) as mismatches:
            async for each in mismatches:
                if sum(counts.values()) < arguments.limit:
                    _say(f"{each.kind}  {each.where}: {each.found}; expected {each.expected}")
                counts[each.kind] = counts.get(each.kind, 0) + 1
    total = sum(counts.values())
    if total > arguments.limit:
        _say(f"… and {total - arguments.limit:,} more")
    by_kind = "".join(f", {kind} {count:,}" for kind, count in sorted(counts.items()))
    sums = "" if check.sums_from.year == 1 else f", sums from {check.sums_from} on"
    _say(
        f"verified {check.requests:,} requests, {check.attempts:,} attempts, {check.corrections:,} corrections{sums}: "
        f"{total:,} mismatches{by_kind}"
    )
    return _NOT_WELL if counts else _WELL


async def _reconcile(settings: Settings, arguments: argparse.Namespace) -> int:
    _check_days(arguments)
    export = read_usage_exports(arguments.provider, arguments.file)
    async with _connected(settings) as connection:
        result = await reconcile(connection, arguments.provider, export, arguments.first, arguments.last)
    for note in export.notes:
        sys.stderr.write(f"cost_ledger: {note}\n")
    differing = [line for line in result.lines if not line.is_within(arguments.tolerance)]
    _say(*_reconciliation_lines(result, differing))
    return _NOT_WELL if differing else _WELL


def _reconciliation_lines(result: Reconciliation, differing: Sequence[Line]) -> list[str]:
    lines: list[str] = []
    if differing:
        header = ("day", "model", "figure", "provider", "ledger", "difference", "percent")
        lines += table_lines(header, [_line_cells(line) for line in differing])
    for day, model, estimated in result.estimated:
        lines.append(
            f"estimated: {day} {model}: {estimated.requests:,} attempts told no usage and are in the ledger with "
            f"{estimated.input_tokens:,} input and {estimated.output_tokens:,} output tokens of our own estimate"
        )
    if result.unpriced:
        lines.append(f"unpriced: {result.unpriced:,} attempts are in no cost (see `prices missing`)")
    for name, own in sorted(result.matched.items()):
        lines.append(f"matched: {', '.join(sorted(own))} in the ledger is counted as {name}")
    agreeing = len(result.lines) - len(differing)
    lines.append(
        f"{result.first} to {result.last} (UTC): {len(result.lines):,} figures compared, {agreeing:,} agree, "
        f"{len(differing):,} differ"
    )
    return ["".join(letter if letter.isprintable() else "?" for letter in line) for line in lines]


def _line_cells(line: Line) -> list[str]:
    percent = f"{100 * Decimal(line.difference) / abs(Decimal(line.provider_says)):+.2f}" if line.provider_says else ""
    form = ".9f" if line.figure == "cost_usd" else ",d"
    return [
        line.day.isoformat(),
        line.model,
        line.figure,
        format(line.provider_says if form == ",d" else Decimal(line.provider_says), form),
        format(line.ledger_says, form),
        format(line.difference, "+" + form),
        percent,
    ]


def _check_days(arguments: argparse.Namespace) -> None:
    if arguments.first is not None and arguments.last is not None and arguments.last < arguments.first:
        raise CommandRefused("--to is before --from")


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text or not 1970 <= day.year <= 9998:
        raise ValueError(text)
    return day


_day.__name__ = "day (YYYY-MM-DD)"


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        raise ValueError(text) from None
    if not percent.is_finite() or percent < 0:
        raise ValueError(text)
    return percent


_percent.__name__ = "percent"


def _limit(text: str) -> int:
    limit = int(text)
    if not 0 <= limit <= 1_000_000:
        raise ValueError(text)
    return limit


_limit.__name__ = "number"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cost_ledger",
        description="The ledger's books. Days are UTC. Without a command it serves; `migrate` prepares.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_prices(commands.add_parser("prices", help="the price book"))
    reprice = commands.add_parser(
        "reprice", help="derive costs again by the prices of now; differences are corrections"
    )
    _add_days(reprice, "attempts that started on")
    reprice.add_argument("--provider", help="only attempts at this provider")
    reprice.add_argument("--model", help="only attempts at this target model")
    reprice.add_argument("--dry-run", action="store_true", help="write nothing, show what would change")
    reprice.set_defaults(work=_reprice)
    verify = commands.add_parser("verify", help="check every cost and every sum; status 1 when one is wrong")
    _add_days(verify, "requests admitted on")
    verify.add_argument("--limit", type=_limit, default=100, help="how many mismatches to print (default 100)")
    verify.set_defaults(work=_verify)
    compare = commands.add_parser("reconcile", help="compare a provider's own figures with the ledger")
    compare.add_argument("--provider", choices=("openai", "anthropic"), required=True)
    compare.add_argument(
        "--file",
        type=Path,
        action="append",
        required=True,
        help="its usage or cost export, CSV or JSON; may be repeated",
    )
    _add_days(compare, "days of the export")
    compare.add_argument(
        "--tolerance", type=_percent, default=Decimal(0), metavar="PERCENT", help="a difference up to this is none"
    )
    compare.set_defaults(work=_reconcile)
    return parser


def _add_prices(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show the recorded prices")
    listing.add_argument("--at", type=_day, metavar="DAY", help="only those in force on this day")
    listing.add_argument("--provider", help="only this provider's")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(work=_prices_list)
    for name, work, text in (
        ("check", _prices_check, "say what an import of FILE would do; status 1 when it would be refused"),
        ("import", _prices_import, "bring the prices of FILE into the book"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument(
            "--backdate", action="store_true", help="allow prices that change what recorded attempts cost"
        )
        command.set_defaults(work=work)
    missing = commands.add_parser("missing", help="models that were used and have no price")
    _add_days(missing, "requests admitted on")
    missing.set_defaults(work=_prices_missing)


def _add_days(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--from", dest="first", type=_day, metavar="DAY", help=f"only {what} this day or later")
    parser.add_argument("--to", dest="last", type=_day, metavar="DAY", help=f"only {what} this day or before")
