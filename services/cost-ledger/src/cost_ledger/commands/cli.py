"""The operator's commands: prices, reprice, verify, reconcile, dead-letters, accounts, budgets, captures; a file each.

They end with a `Status`; what it is about is in the output, or a line on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from cost_ledger.commands.accounts import add_accounts
from cost_ledger.commands.budgets import add_budgets
from cost_ledger.commands.captures import add_captures
from cost_ledger.commands.command_line import Status
from cost_ledger.commands.dead_letters import add_dead_letters
from cost_ledger.commands.prices import add_prices
from cost_ledger.commands.reconcile import add_reconcile
from cost_ledger.commands.reprice import add_reprice
from cost_ledger.commands.verify import add_verify
from cost_ledger.connections import OUTAGES
from cost_ledger.errors import ImportRefused, LedgerError, PriceBookInvalid, UsageExportInvalid
from cost_ledger.prices.file import load_price_file
from cost_ledger.settings import Settings
from servicekit.settings import load_settings


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its status; errors are lines on standard error, never a traceback."""
    parsed = _parser().parse_args(arguments)
    work: Callable[[Settings, argparse.Namespace], Awaitable[int]] = parsed.work
    settings = load_settings(Settings)

    async def main() -> int:
        return await work(settings, parsed)

    try:
        return asyncio.run(main())
    except PriceBookInvalid as error:
        return _fail(Status.WRONG, *error.faults)
    except ImportRefused as error:
        file = load_price_file(parsed.file)
        return _fail(Status.WRONG, f"{file.place_of(error.price_versions[0])}: {error}")
    except UsageExportInvalid as error:
        more = [] if error.count == len(error.faults) else [f"and {error.count - len(error.faults)} more"]
        return _fail(Status.FAILED, *error.faults, *more)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return _fail(Status.FAILED, "the database is of an older version: run `python -m cost_ledger migrate`")
    except BrokenPipeError:
        # The reader of the output has gone. What is still buffered must not be written again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.WRONG
    except (LedgerError, *OUTAGES) as error:
        reason = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        return _fail(Status.FAILED, " ".join(reason.split()))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")


def _fail(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"cost_ledger: {line}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cost_ledger",
        description="The ledger's books. Days are UTC. Without a command it serves; `migrate` prepares.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_prices(commands.add_parser("prices", help="the price book"))
    add_reprice(
        commands.add_parser("reprice", help="derive costs again by today's price book; differences become corrections")
    )
    add_verify(commands.add_parser("verify", help="check every cost and every sum; status 1 when one is wrong"))
    add_reconcile(commands.add_parser("reconcile", help="compare a provider's own figures with the ledger"))
    add_dead_letters(commands.add_parser("dead-letters", help="events that could not be recorded: list, show, replay"))
    add_accounts(commands)
    add_budgets(commands.add_parser("budgets", help="who may spend how much: list, set, remove, verify"))
    add_captures(commands.add_parser("captures", help="captured texts of requests: list, show, delete"))
    return parser
