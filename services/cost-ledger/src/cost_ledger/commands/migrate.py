"""The command `migrate`: bring the database up to date, or check that it is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cost_ledger.schema.migrate import check, migrate
from cost_ledger.settings import Settings


def parse_migrate(arguments: Sequence[str]) -> Callable[[Settings], Coroutine[Any, Any, None]]:
    """Return what the arguments of `migrate` ask for; SystemExit with status 2 and the reason when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="cost_ledger migrate", description="Bring the database up to date; a newer one is left as it is."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; status 0 if it is as new as this ledger")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="keep trying for so long while the server is away or, with --check, the tables are too old (default 0)",
    )
    parsed = parser.parse_args(arguments)
    work = check if parsed.check else migrate
    return lambda settings: work(settings, parsed.wait)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise ValueError(text)
    return seconds


_seconds.__name__ = "number of seconds"
