"""The command `reprice`: derive costs again and show the differences."""

from __future__ import annotations

import argparse
import sys
import time

from cost_ledger.books.reprice import Difference, Reprice, RepriceScope
from cost_ledger.commands.command_line import Status, add_days, check_days, connected, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.settings import Settings


def add_reprice(parser: argparse.ArgumentParser) -> None:
    """Add its arguments, and `work`, which returns the status."""
    add_days(parser, "attempts that started on")
    parser.add_argument("--provider", help="only attempts at this provider")
    parser.add_argument("--model", help="only attempts at this target model")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, show what would change")
    parser.set_defaults(work=_reprice)


async def _reprice(settings: Settings, arguments: argparse.Namespace) -> int:
    check_days(arguments)
    scope = RepriceScope(arguments.first, arguments.last, arguments.provider, arguments.model)

    next_line = 0.0

    def report(progress: str) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + 1.0
            sys.stderr.write(f"reprice: {progress}\n")

    async with connected(settings) as connection:
        run = Reprice(connection, scope, dry_run=arguments.dry_run, report=report)
        try:
            await run.run()
        finally:
            say(*_difference_lines(run, dry_run=arguments.dry_run))
    return Status.OK


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
    for key, each in sorted(run.differences.items()):
        rows.append([key.provider, key.target_model, key.day.isoformat(), *_difference_cells(each)])
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
