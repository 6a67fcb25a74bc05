"""`spillway chat`: send one question, print the answer as it arrives, then the receipt."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from servicekit.lenient_json import loads
from servicekit.sse import EventTooLong, SseDecoder
from spillway_local.edge_client import EdgeClient, describe_error
from spillway_local.home import CommandError


class AnswerIncomplete(Exception):
    """The answer ended with an error or without a terminal event; the message says which."""


def run_chat(edge: EdgeClient, request: dict[str, Any], *, use_cache: bool) -> None:
    """Send the question and print the answer.

    CommandError when the edge returns an error, AnswerIncomplete when the answer is interrupted.
    """
    headers = {} if use_cache else {"cache-control": "no-store, no-cache"}
    with edge.connect() as client, client.stream("POST", "/chat", json=request, headers=headers) as response:
        if response.status_code != 200:
            response.read()
            raise CommandError(describe_error(response))
        print_answer(response.iter_bytes(), sys.stdout)


def print_answer(chunks: Iterable[bytes], out: TextIO) -> None:
    """Print the text of a stream as it arrives, then the receipt.

    AnswerIncomplete when it ends otherwise; the text so far is then marked as incomplete.
    """
    start: dict[str, Any] = {}
    has_text = False
    try:
        for event in _read_events(chunks):
            match event:
                case ("start", data):
                    start = data
                case ("delta", data):
                    has_text = True
                    print(data["text"], end="", file=out, flush=True)
                case ("tool_call", data):
                    print(f"[tool call] {data}", file=out, flush=True)
                case ("done", data):
                    lines = receipt_lines(start, data)
                    print("\n", *lines, sep="\n", file=out, flush=True)
    except (AnswerIncomplete, LookupError, TypeError, AttributeError, ValueError) as error:
        if has_text:
            print("\n[incomplete]", file=out, flush=True)
        if isinstance(error, AnswerIncomplete):
            raise
        raise _invalid(error) from error


def _read_events(chunks: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the events up to `done`; AnswerIncomplete for every other end of the stream."""
    decoder = SseDecoder()
    for chunk in chunks:
        try:
            events = decoder.feed(chunk)
        except EventTooLong as error:
            raise _invalid(error) from error
        for event in events:
            data = loads(event.data)
            if event.name == "error":
                raise AnswerIncomplete(f"{data['error']['code']}: {data['error']['message']}")
            yield event.name, data
            if event.name == "done":
                return
    raise AnswerIncomplete("the connection closed before the answer ended")


def _invalid(error: Exception) -> AnswerIncomplete:
    return AnswerIncomplete(f"invalid event from the edge: {error!r}")


def receipt_lines(start: dict[str, Any], done: dict[str, Any]) -> list[str]:
    """Lay out the receipt: model, attempts, tokens and cost."""
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
    return f"{cache['status']}, stored" if cache.get("stored") else str(cache["status"])


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
