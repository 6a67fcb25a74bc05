"""What the operator's commands share: status, output, a connection, who runs it, days as arguments."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from enum import IntEnum

import asyncpg

from cost_ledger.errors import CommandRefused
from cost_ledger.schema.migrate import connect
from cost_ledger.settings import Settings

# For one statement; the longest adds up every row that is kept.
_STATEMENT_TIMEOUT_SECONDS = 900.0


class Status(IntEnum):
    """What a command ends with."""

    OK = 0
    WRONG = 1
    """What was checked is wrong, or what was to be imported was refused."""
    FAILED = 2
    """It could not be done: a wrong argument, an export that cannot be read, no database."""


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def actor() -> str:
    """Return who runs the command, as the log of changes names them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user has no name
        return "cli"


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the command's own."""
    connection = await connect(settings, command_timeout_seconds=_STATEMENT_TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        # Not `close`, which waits for a server that may hang; every transaction has ended or failed by now.
        connection.terminate()


def day(text: str) -> date:
    """Read an argument; ValueError unless it is YYYY-MM-DD."""
    read = date.fromisoformat(text)
    if read.isoformat() != text or not 1970 <= read.year <= 9998:
        raise ValueError(text)
    return read


day.__name__ = "day (YYYY-MM-DD)"


def add_days(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--from` and `--to` for UTC days, both included."""
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help=f"only {what} this day or later")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help=f"only {what} this day or before")


def check_days(arguments: argparse.Namespace) -> None:
    """Refuse days in the wrong order: CommandRefused."""
    if arguments.first is not None and arguments.last is not None and arguments.last < arguments.first:
        raise CommandRefused("--to is before --from")
