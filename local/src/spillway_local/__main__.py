"""The `spillway` command. Each subcommand imports its modules when it runs, so that the help is fast."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spillway_local.home import CommandError, Home, home_from
from spillway_local.ledger_command import LEDGER_COMMANDS, run_ledger_command

if TYPE_CHECKING:
    from spillway_local.edge_client import EdgeClient

_DEFAULT_REQUESTS = 20
_CONNECTION = " (default: {variable}, then the system running on SPILLWAY_HOME)"


def main() -> None:
    """Run one command. A failure is one line on standard error and status 1, never a traceback."""
    arguments = _arguments()
    home = home_from(os.environ)
    try:
        status = _COMMANDS[arguments.command](arguments, home)
    except CommandError as error:
        status = _fail(str(error))
    except BrokenPipeError:
        # The reader of the output is gone. Buffered output must not be written again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        full = error.errno == errno.ENOSPC
        status = _fail(f"disk full: {home.path}" if full else f"{error.filename or home.path}: {error.strerror}")
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _arguments() -> argparse.Namespace:
    # The ledger parses the arguments of its own commands, `--help` included.
    if sys.argv[1:2] and sys.argv[1] in LEDGER_COMMANDS:
        return argparse.Namespace(command=sys.argv[1], rest=sys.argv[1:])
    return _parser().parse_args()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spillway", description="An LLM gateway on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the whole system and run it until Ctrl-C")
    up.add_argument("--routes", type=Path, help="use this routes file instead of the default routes (SPILLWAY_ROUTES)")
    chat = commands.add_parser("chat", help="send one question and print the answer with its receipt")
    chat.add_argument("query", help="the question; - reads it from standard input")
    chat.add_argument("--model", help="the public model name (default: `default`)")
    chat.add_argument("--system", help="the system prompt")
    chat.add_argument("--max-tokens", type=int, help="the maximum length of the answer")
    chat.add_argument("--no-cache", action="store_true", help="bypass the response cache and do not store the answer")
    costs = commands.add_parser("costs", help="show the spend: today, in total, by user, model and day")
    costs.add_argument("--by", choices=("user", "key", "model", "provider", "day"), help="group by this instead")
    costs.add_argument("--from", metavar="DAY", help="the first UTC day, YYYY-MM-DD (default: 30 days ago)")
    costs.add_argument("--to", metavar="DAY", help="the last UTC day, YYYY-MM-DD (default: today)")
    costs.add_argument("--csv", action="store_true", help="print CSV, by day without --by")
    requests = commands.add_parser("requests", help="list the newest requests")
    requests.add_argument("--model", help="only requests for this public model")
    requests.add_argument("--outcome", help="only this outcome: ok, rejected, provider_error, timeout, ...")
    requests.add_argument("--limit", type=_count, help="the maximum number (default: 20, all with --csv)")
    requests.add_argument("--csv", action="store_true", help="print CSV, at most 100,000 requests")
    receipt = commands.add_parser("receipt", help="show the cost of one request, attempt by attempt")
    receipt.add_argument("request_id", metavar="ID", help="the id of the request")
    for command in (chat, costs, requests, receipt):
        command.add_argument("--url", help="the address of the edge" + _CONNECTION.format(variable="SPILLWAY_URL"))
        command.add_argument("--key", help="the API key" + _CONNECTION.format(variable="SPILLWAY_API_KEY"))
    commands.add_parser("status", help="show the running processes and whether they answer")
    for name, text in LEDGER_COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def _up(arguments: argparse.Namespace, home: Home) -> int:
    # gRPC reads this when it is imported. This process starts others but never uses gRPC in a fork of itself; with fork
    # support, each start during a running call prints a warning.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    from spillway_local.supervisor import ChildDied
    from spillway_local.up import run_up

    from_environment = os.environ.get("SPILLWAY_ROUTES")
    try:
        run_up(home, os.environ, arguments.routes or (Path(from_environment) if from_environment else None))
    except ChildDied as death:
        return _fail(str(death))
    return 0


def _chat(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.chat import AnswerIncomplete, run_chat
    from spillway_local.edge_client import find_edge

    edge = find_edge(home, os.environ, arguments.url, arguments.key)
    options = {"system_prompt": arguments.system, "model": arguments.model, "max_tokens": arguments.max_tokens}
    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    request = {"query": query} | {name: value for name, value in options.items() if value is not None}
    try:
        run_chat(edge, request, use_cache=not arguments.no_cache)
    except AnswerIncomplete as incomplete:
        return _fail(str(incomplete))
    return 0


def _costs(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.costs import run_costs

    parameters = {"group_by": arguments.by, "from": getattr(arguments, "from"), "to": arguments.to}
    run_costs(_edge(arguments, home), _without_none(parameters), as_csv=arguments.csv)
    return 0


def _requests(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.requests import run_export, run_requests

    parameters = _without_none({"model": arguments.model, "outcome": arguments.outcome})
    if arguments.csv:
        run_export(_edge(arguments, home), parameters, arguments.limit)
    else:
        run_requests(_edge(arguments, home), parameters, arguments.limit or _DEFAULT_REQUESTS)
    return 0


def _receipt(arguments: argparse.Namespace, home: Home) -> int:
    from spillway_local.requests import run_receipt

    run_receipt(_edge(arguments, home), arguments.request_id)
    return 0


def _edge(arguments: argparse.Namespace, home: Home) -> EdgeClient:
    from spillway_local.edge_client import find_edge

    return find_edge(home, os.environ, arguments.url, arguments.key)


def _without_none(parameters: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}


def _count(text: str) -> int:
    """Parse a number above 0 for argparse, which reports ValueError as an invalid argument."""
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
