"""The operator's commands: prices, reprice, verify, reconcile.

Status 0: done, and all is well. 1: what was checked is not well, or was refused, and the output says what. 2: it could
not be done: a wrong argument, an export that cannot be read, no database.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from pathlib import Path

import asyncpg

from cost_ledger.books.command_line import add_days, check_days, connected, say
from cost_ledger.books.reconcile import Line, Reconciliation, reconcile
from cost_ledger.books.reprice import Difference, Reprice, RepriceScope
from cost_ledger.books.text_table import table_lines
from cost_ledger.books.usage_export import read_usage_exports
from cost_ledger.books.verify import Verification
from cost_ledger.connections import OUTAGES
from cost_ledger.errors import ImportRefused, LedgerError, PriceBookInvalid, UsageExportInvalid
from cost_ledger.prices.commands import add_price_commands
from cost_ledger.prices.file import load_price_file
from cost_ledger.settings import Settings
from servicekit.settings import load_settings

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
    except BrokenPipeError:
        # Whoever read the output has gone. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOT_WELL
    except (LedgerError, *OUTAGES) as error:
        told = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        return _fail(_NOT_DONE, " ".join(told.split()))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")


def _fail(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"cost_ledger: {line}\n")
    return status


async def _reprice(settings: Settings, arguments: argparse.Namespace) -> int:
    check_days(arguments)
    scope = RepriceScope(arguments.first, arguments.last, arguments.provider, arguments.model)

    next_line = 0.0

    def tell(progress: str) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + 1.0
            sys.stderr.write(f"reprice: {progress}\n")

    async with connected(settings) as connection:
        run = Reprice(connection, scope, dry_run=arguments.dry_run, report=tell)
        try:
            await run.run()
        finally:
            say(*_difference_lines(run, dry_run=arguments.dry_run))
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
    check_days(arguments)
    counts: dict[str, int] = {}
    async with connected(settings) as connection:
        check = Verification(connection, arguments.first, arguments.last)
        async with aclosing(check.mismatches()) as mismatches:
            async for each in mismatches:
                if sum(counts.values()) < arguments.limit:
                    say(f"{each.kind}  {each.where}: {each.found}; expected {each.expected}")
                counts[each.kind] = counts.get(each.kind, 0) + 1
    total = sum(counts.values())
    if total > arguments.limit:
        say(f"… and {total - arguments.limit:,} more")
    by_kind = "".join(f", {kind} {count:,}" for kind, count in sorted(counts.items()))
    sums = "" if check.sums_from.year == 1 else f", sums from {check.sums_from} on"
    say(
        f"verified {check.requests:,} requests, {check.attempts:,} attempts, {check.corrections:,} corrections{sums}: "
        f"{total:,} mismatches{by_kind}"
    )
    return _NOT_WELL if counts else _WELL


async def _reconcile(settings: Settings, arguments: argparse.Namespace) -> int:
    check_days(arguments)
    export = read_usage_exports(arguments.provider, arguments.file)
    async with connected(settings) as connection:
        result = await reconcile(connection, arguments.provider, export, arguments.first, arguments.last)
    for note in export.notes:
        sys.stderr.write(f"cost_ledger: {note}\n")
    differing = [line for line in result.lines if not line.is_within(arguments.tolerance)]
    say(*_reconciliation_lines(result, differing))
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
    add_price_commands(commands.add_parser("prices", help="the price book"))
    reprice = commands.add_parser(
        "reprice", help="derive costs again by the prices of now; differences are corrections"
    )
    add_days(reprice, "attempts that started on")
    reprice.add_argument("--provider", help="only attempts at this provider")
    reprice.add_argument("--model", help="only attempts at this target model")
    reprice.add_argument("--dry-run", action="store_true", help="write nothing, show what would change")
    reprice.set_defaults(work=_reprice)
    verify = commands.add_parser("verify", help="check every cost and every sum; status 1 when one is wrong")
    add_days(verify, "requests admitted on")
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
    add_days(compare, "days of the export")
    compare.add_argument(
        "--tolerance", type=_percent, default=Decimal(0), metavar="PERCENT", help="a difference up to this is none"
    )
    compare.set_defaults(work=_reconcile)
    return parser
