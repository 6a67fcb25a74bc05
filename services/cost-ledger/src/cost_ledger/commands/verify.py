"""The command `verify`: check every cost and every sum."""

from __future__ import annotations

import argparse
from contextlib import aclosing

from cost_ledger.books.verify import Verification
from cost_ledger.commands.command_line import Status, add_days, check_days, connected, say
from cost_ledger.settings import Settings


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add its arguments, and `work`, which returns the status."""
    add_days(parser, "requests admitted on")
    parser.add_argument("--limit", type=_limit, default=100, help="how many mismatches to print (default 100)")
    parser.set_defaults(work=_verify)


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
    return Status.WRONG if counts else Status.OK


def _limit(text: str) -> int:
    limit = int(text)
    if not 0 <= limit <= 1_000_000:
        raise ValueError(text)
    return limit


_limit.__name__ = "number"
