"""The `spillway` command. What a subcommand needs is imported when it is asked for: the help is there at once."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spillway_local.home import Home, Refusal, home_from
from spillway_local.ledger_command import LEDGER_COMMANDS, run_ledger_command

if TYPE_CHECKING:
    from spillway_local.door import Door

_DEFAULT_REQUESTS = 20
_CONNECTION = "; with neither this nor {variable}, what runs on SPILLWAY_HOME"


def main() -> None:
    """Run one command; what cannot be done is one line on standard error and status 1, never a traceback."""
    arguments = _arguments()
    home = home_from(os.environ)
    try:
        status = _COMMANDS[arguments.command](arguments, home)
    except Refusal as refusal:
        status = _fail(str(refusal))
    except BrokenPipeError:
        # Whoever read the output has gone. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        full = error.errno == errno.ENOSPC
        status = _fail(f"disk full: {home.path}" if full else f"{error.filename or home.path}: {error.strerror}")
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _arguments() -> argparse.Namespace:
    # What stands behind one of the ledger's commands is for the ledger to read, `--help` included.
    if sys.argv[1:2] and sys.argv[1] in LEDGER_COMMANDS:
        return argparse.Namespace(command=sys.argv[1], rest=sys.argv[1:])
    return _parser().parse_args()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spillway", description="An LLM gateway on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the whole system until Ctrl-C")
    up.add_argument("--routes", type=Path, help="a routes file instead of the default routes (SPILLWAY_ROUTES)")
    chat = commands.add_parser("chat", help="ask one question")
    chat.add_argument("query", help="the question; - reads it from standard input")
    chat.add_argument("--model", help="a public model name; `default` when not given")
    chat.add_argument("--system", help="the system prompt")
    chat.add_argument("--max-tokens", type=int, help="the longest answer")
    chat.add_argument("--no-cache", action="store_true", help="neither take the answer from the cache nor keep it")
    costs = commands.add_parser("costs", help="show what was spent: today, in total, by user, model and day")
    costs.add_argument("--by", choices=("user", "key", "model", "provider", "day"), help="by this instead")
    costs.add_argument("--from", metavar="DAY", help="the first UTC day, YYYY-MM-DD; 30 days back when not given")
    costs.add_argument("--to", metavar="DAY", help="the last UTC day, YYYY-MM-DD; today when not given")
    costs.add_argument("--csv", action="store_true", help="as CSV, by day when there is no --by")
    requests = commands.add_parser("requests", help="list the newest requests")
    requests.add_argument("--model", help="only those for this public model")
    requests.add_argument("--outcome", help="only those that ended so: ok, rejected, provider_error, timeout, ...")
    requests.add_argument("--limit", type=_count, help="how many; 20 when not given, with --csv all there are")
    requests.add_argument("--csv", action="store_true", help="as CSV, at most 100,000")
    receipt = commands.add_parser("receipt", help="show what one request cost, attempt by attempt")
    receipt.add_argument("request_id", metavar="ID", help="the request's id")
    for command in (chat, costs, requests, receipt):
        command.add_argument("--url", help="the address of the edge" + _CONNECTION.format(variable="SPILLWAY_URL"))
        command.add_argument("--key", help="the API key" + _CONNECTION.format(variable="SPILLWAY_API_KEY"))
    commands.add_parser("status", help="show what runs, and whether it answers")
    for name, text in LEDGER_COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def _up(arguments: argparse.Namespace, home: Home) -> int:
    # Read when gRPC is imported. This process starts others but never uses gRPC in a fork of itself; with the support
    # for that, each start beside a running call is a warning on standard error.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    from spillway_local.supervisor import ChildDied
    from spillway_local.up import run_up

    named = os.environ.get("SPILLWAY_ROUTES")
    try:
        run_up(home, os.environ, arguments.routes or (Path(named) if named else None))
    except ChildDied as death:
        return _fail(str(death))
    return 0


def _chat(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.chat import AnswerIncomplete, run_chat
    from spillway_local.door import find_door

    door = find_door(home, os.environ, arguments.url, arguments.key)
    wishes = {"system_prompt": arguments.system, "model": arguments.model, "max_tokens": arguments.max_tokens}
    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    request = {"query": query} | {name: value for name, value in wishes.items() if value is not None}
    try:
        run_chat(door, request, use_cache=not arguments.no_cache)
    except AnswerIncomplete as incomplete:
        return _fail(str(incomplete))
    return 0


def _costs(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.costs import run_costs

    wishes = {"group_by": arguments.by, "from": getattr(arguments, "from"), "to": arguments.to}
    run_costs(_door(arguments, home), _given(wishes), as_csv=arguments.csv)
    return 0


def _requests(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.requests import run_export, run_requests

    wishes = _given({"model": arguments.model, "outcome": arguments.outcome})
    if arguments.csv:
        run_export(_door(arguments, home), wishes, arguments.limit)
    else:
        run_requests(_door(arguments, home), wishes, arguments.limit or _DEFAULT_REQUESTS)
    return 0


def _receipt(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.requests import run_receipt

    run_receipt(_door(arguments, home), arguments.request_id)
    return 0


def _door(arguments: argparse.Namespace, home: Home) -> Door:
    from spillway_local.door import find_door

    return find_door(home, os.environ, arguments.url, arguments.key)


def _given(wishes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in wishes.items() if value is not None}


def _count(text: str) -> int:
    """Read a number above 0 for argparse, which tells ValueError as a fault of the argument."""
    if (count := int(text)) < 1:
        raise ValueError
    return count


def _status(_arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.status import run_status

    return 0 if run_status(home) else 1


def _ledger(arguments: argparse.Namespace, home: Home) -> int:
    return run_ledger_command(home, arguments.rest, os.environ)


_COMMANDS = {
    "up": _up,
    "chat": _chat,
    "costs": _costs,
    "requests": _requests,
    "receipt": _receipt,
    "status": _status,
    **dict.fromkeys(LEDGER_COMMANDS, _ledger),
}


def _fail(message: str) -> int:
    print(f"spillway: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
