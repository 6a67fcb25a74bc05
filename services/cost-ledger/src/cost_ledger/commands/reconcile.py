"""The command `reconcile`: compare a provider's own figures with the ledger."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from cost_ledger.books.reconcile import Line, Reconciliation, reconcile
from cost_ledger.books.usage_export.files import read_usage_exports
from cost_ledger.commands.command_line import Status, add_days, check_days, connected, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.settings import Settings


def add_reconcile(parser: argparse.ArgumentParser) -> None:
    """Add its arguments, and `work`, which returns the status."""
    parser.add_argument("--provider", choices=("openai", "anthropic"), required=True)
    parser.add_argument(
        "--file",
        type=Path,
        action="append",
        required=True,
        help="its usage or cost export, CSV or JSON; may be repeated",
    )
    add_days(parser, "days of the export")
    parser.add_argument(
        "--tolerance", type=_percent, default=Decimal(0), metavar="PERCENT", help="ignore a difference of up to this"
    )
    parser.set_defaults(work=_reconcile)


async def _reconcile(settings: Settings, arguments: argparse.Namespace) -> int:
    check_days(arguments)
    export = read_usage_exports(arguments.provider, arguments.file)
    async with connected(settings) as connection:
        result = await reconcile(connection, arguments.provider, export, arguments.first, arguments.last)
    for note in export.notes:
        sys.stderr.write(f"cost_ledger: {note}\n")
    differing = [line for line in result.lines if not line.is_within(arguments.tolerance)]
    say(*_reconciliation_lines(result, differing))
    return Status.WRONG if differing else Status.OK


def _reconciliation_lines(result: Reconciliation, differing: Sequence[Line]) -> list[str]:
    lines: list[str] = []
    if differing:
        header = ("day", "model", "figure", "provider", "ledger", "difference", "percent")
        lines += table_lines(header, [_line_cells(line) for line in differing])
    for key, part in result.estimated.items():
        lines.append(
            f"estimated: {key.day} {key.model}: {part.requests:,} attempts reported no usage; the ledger has them with "
            f"{part.input_tokens:,} input and {part.output_tokens:,} output tokens of our own estimate"
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
