"""The ledger's own commands, such as `spillway prices` and `spillway keys`, on the local system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from spillway_local.home import CommandError, Home

LEDGER_COMMANDS = {
    "prices": "show, check or extend the price book: list, check, import, missing",
    "reprice": "recompute costs with the current prices and record differences as corrections",
    "verify": "check every cost and every sum of the ledger",
    "reconcile": "compare a provider's usage or cost export with the ledger",
    "dead-letters": "cost events that could not be recorded: list, show, replay",
    "tenants": "tenants: create, list, show, update, disable, enable",
    "teams": "teams of tenants: create, list, show, update, disable, enable",
    "users": "users of tenants: create, list, show, update, disable, enable",
    "keys": "API keys: create, list, show, update, disable, enable, rotate, import",
    "audit": "changes of tenants, teams, users, keys and budgets: list",
    "budgets": "who may spend how much: list, set, remove, verify",
    "captures": "captured texts of requests: list, show, delete",
}


def run_ledger_command(home: Home, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command in a process of the ledger, which alone uses SQL; return its status.

    CommandError when nothing runs.
    """
    run = home.read_run()
    # The help needs no running system.
    if run is None and not {"-h", "--help"} & set(arguments):
        raise CommandError(home.not_running)
    settings = {
        "COST_LEDGER_POSTGRES_URL": run["postgres_url"] if run else "postgresql://",
        "COST_LEDGER_REDIS_URL": run["redis_url"] if run else "redis://",
    }
    if run:
        settings["COST_LEDGER_POSTGRES_PASSWORD_FILE"] = run["postgres_password_file"]
        settings["COST_LEDGER_KEY_PEPPER_FILE"] = str(home.key_pepper_file)
        settings["COST_LEDGER_EDGE_URL"] = run["url"]
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "cost_ledger", *arguments], env={**environment, **settings})
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
