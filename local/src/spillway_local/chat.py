"""`spillway chat`: one question, the answer as it arrives, then the receipt."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from spillway_local.door import Door, explain
from spillway_local.home import Refusal
from spillway_local.sse import Event, read_events


class AnswerIncomplete(Exception):
    """The answer ended with an error, or without an end; the message says which."""


def run_chat(door: Door, request: dict[str, Any], *, use_cache: bool) -> None:
    """Ask and print. Refusal when the edge says no, AnswerIncomplete when the answer breaks off."""
    headers = {} if use_cache else {"cache-control": "no-store, no-cache"}
    with door.opened() as client, client.stream("POST", "/chat", json=request, headers=headers) as response:
        if response.status_code != 200:
            response.read()
            raise Refusal(explain(response))
        print_answer(response.iter_bytes(), sys.stdout)


def print_answer(chunks: Iterable[bytes], out: TextIO) -> None:
    """Print the text of a stream piece by piece as it comes, then the receipt.

    AnswerIncomplete when it ends otherwise, with the text so far marked as incomplete.
    """
    start: dict[str, Any] = {}
    has_text = False
    for event in read_events(chunks):
        match event:
            case Event("start", data):
                start = data
            case Event("delta", data):
                has_text = True
                print(data["text"], end="", file=out, flush=True)
            case Event("tool_call", data):
                print(f"[tool call] {data}", file=out, flush=True)
            case Event("done", data):
                print("\n", file=out)
                print("\n".join(receipt_lines(start, data)), file=out, flush=True)
                return
            case Event("error", data):
                _end_line(out, has_text)
                error = data["error"]
                raise AnswerIncomplete(f"{error['code']}: {error['message']}")
    _end_line(out, has_text)
    raise AnswerIncomplete("the connection closed before the answer ended")


def _end_line(out: TextIO, has_text: bool) -> None:
    if has_text:
        print("\n[incomplete]", file=out, flush=True)


def receipt_lines(start: dict[str, Any], done: dict[str, Any]) -> list[str]:
    """Lay out the receipt: who answered, what it took, what it cost."""
    usage, cache = done["usage"] or {}, done["cache"]
    rows = [
        ("model", f"{done['model']} ({done['provider']}), finished: {done['finish_reason']}"),
        ("cache", _cache_text(cache)),
        *(("attempt", _attempt_text(attempt)) for attempt in done["attempts"]),
        ("tokens", f"{_count(usage.get('input_tokens'))} in, {_count(usage.get('output_tokens'))} out"),
        ("cost", _cost_text(done["cost_usd"], cache)),
        ("request", str(start.get("request_id", "?"))),
    ]
    return [f"  {name:<8} {text}" for name, text in rows]


def _cache_text(cache: dict[str, Any]) -> str:
    return f"{cache['status']}, stored for the next time" if cache.get("stored") else str(cache["status"])


def _attempt_text(attempt: dict[str, Any]) -> str:
    reason = f" ({attempt['error_code']})" if attempt.get("error_code") else ""
    number, target, outcome = attempt["attempt_number"], attempt["target"], attempt["outcome"]
    return f"{number}  {target}  {outcome}{reason}  {attempt['duration_seconds']:.2f} s"


def _cost_text(cost_usd: str | None, cache: dict[str, Any]) -> str:
    cost = "unpriced" if cost_usd is None else f"{cost_usd} USD"
    saved = cache.get("saved_cost_usd")
    return f"{cost}, saved {saved} USD" if saved is not None else cost


def _count(tokens: int | None) -> str:
    return "unknown" if tokens is None else str(tokens)
