"""`spillway requests` and `spillway receipt`: the newest requests, and what one of them cost."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

from spillway_local import table
from spillway_local.edge_client import EdgeClient, describe_error
from spillway_local.home import CommandError

_MAX_PAGE_SIZE = 1000
_COLUMNS = ("request", "admitted", "user", "model", "state", "outcome", "cache", "seconds", "cost")


def run_requests(edge: EdgeClient, parameters: dict[str, str], limit: int) -> None:
    """Print the newest requests as a table; `parameters` are those of `GET /v1/requests`.

    CommandError when the edge returns an error.
    """
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    with edge.connect() as client:
        while len(found) < limit:
            size = {"limit": str(min(limit - len(found), _MAX_PAGE_SIZE))}
            response = client.get("/v1/requests", params=parameters | size | cursor)
            if response.status_code != 200:
                raise CommandError(describe_error(response))
            page = response.json()
            found += page["data"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
    print("\n".join(request_lines(found)))


def run_export(edge: EdgeClient, parameters: dict[str, str], limit: int | None) -> None:
    """Print requests as CSV, all that match without a `limit`.

    CommandError when the edge returns an error or aborts the export.
    """
    parameters = {**parameters, "format": "csv"} | ({} if limit is None else {"limit": str(limit)})
    with edge.connect() as client, client.stream("GET", "/v1/requests", params=parameters) as response:
        if response.status_code != 200:
            response.read()
            raise CommandError(describe_error(response))
        for chunk in response.iter_bytes():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def run_receipt(edge: EdgeClient, request_id: str) -> None:
    """Print the receipt of one request. CommandError when the edge returns an error."""
    with edge.connect() as client:
        response = client.get(f"/v1/requests/{quote(request_id, safe='')}")
    if response.status_code != 200:
        raise CommandError(describe_error(response))
    print("\n".join(receipt_lines(response.json())))


def request_lines(requests: list[dict[str, Any]]) -> list[str]:
    """Lay out a list of requests, one per line."""
    rows = [
        (
            request["request_id"],
            request["admitted_at"][:19].replace("T", " "),
            request["user"],
            request["requested_model"],
            request["state"],
            request["error_code"] or request["outcome"] or "-",
            request["cache_status"] or "-",
            _seconds(request["duration_seconds"]),
            _cost(request),
        )
        for request in requests
    ]
    return [*table.table_lines([_COLUMNS, *rows], left=7), "", "Times are UTC, costs in USD."]


def receipt_lines(receipt: dict[str, Any]) -> list[str]:
    """Lay out one request: its outcome, and each attempt with tokens, cost and corrections."""
    facts = [
        ("request", receipt["request_id"]),
        ("admitted", receipt["admitted_at"]),
        ("user", f"{receipt['user']} (key {receipt['key_id']})"),
        ("model", f"{receipt['requested_model']} at {receipt['endpoint']}"),
        ("state", receipt["state"]),
        ("outcome", receipt["error_code"] or receipt["outcome"] or "-"),
        ("cache", receipt["cache_status"] or "-"),
        ("seconds", _seconds(receipt["duration_seconds"])),
    ]
    for attempt in receipt["attempts"]:
        facts.append(("attempt", _attempt(attempt)))
        if attempt.get("dropped"):
            facts.append(("", f"without {', '.join(attempt['dropped'])}"))
        facts += [
            (
                "",
                f"corrected to {correction['cost_usd'] or 'unpriced'} by {correction['price_version'] or 'no price'}"
                f" ({correction['reason']}, {correction['corrected_at']})",
            )
            for correction in attempt["corrections"]
        ]
    saved = f", saved {receipt['saved_cost_usd']}" if receipt["saved_cost_usd"] is not None else ""
    return table.table_lines([*facts, ("cost", f"{_cost(receipt)} USD{saved}")], left=2)


def _attempt(attempt: dict[str, Any]) -> str:
    usage = attempt["usage"] or {}
    ending = attempt["error_code"] or attempt["outcome"]
    tokens = f"{_count(usage.get('input_tokens'))} in, {_count(usage.get('output_tokens'))} out"
    cost = "unpriced" if attempt["cost_usd"] is None else attempt["cost_usd"]
    priced = f" ({attempt['price_version']})" if attempt["price_version"] else ""
    return f"{attempt['attempt_number']}  {attempt['target']}  {ending}  {tokens}  {cost}{priced}"


def _cost(request: dict[str, Any]) -> str:
    if request["cost_usd"] is not None:
        return str(request["cost_usd"])
    return "unpriced" if request["state"] == "settled" else "-"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


def _count(tokens: int | None) -> str:
    return "unknown" if tokens is None else str(tokens)
