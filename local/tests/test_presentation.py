"""The output of the commands: events, receipts, tables."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from spillway_local.chat import AnswerIncomplete, print_answer, receipt_lines
from spillway_local.costs import table_lines
from spillway_local.requests import receipt_lines as record_lines
from spillway_local.requests import request_lines


def _frames(*events: tuple[str, dict[str, Any]]) -> list[bytes]:
    return [f"event: {name}\nid: 1\ndata: {json.dumps(data)}\n\n".encode() for name, data in events]


START = ("start", {"request_id": "0193", "model": "default", "cache": "miss"})
PIECE = ("delta", {"text": "half an"})


def test_an_answer_that_ends_in_an_error_is_marked_as_incomplete() -> None:
    """The text so far stays, marked; the error is raised, and there is no receipt."""
    out = io.StringIO()
    error = {"error": {"type": "upstream_error", "code": "stream_interrupted", "message": "cut", "retryable": True}}

    with pytest.raises(AnswerIncomplete, match="stream_interrupted: cut"):
        print_answer(_frames(START, PIECE, ("error", error)), out)
    assert "half an\n[incomplete]\n" == out.getvalue()


def test_a_stream_without_a_terminal_event_is_incomplete() -> None:
    """A connection that closes early is an incomplete answer; without text there is nothing to mark."""
    out = io.StringIO()

    with pytest.raises(AnswerIncomplete, match="closed before the answer ended"):
        print_answer(_frames(START), out)
    assert "" == out.getvalue()


def test_an_event_that_is_not_json_is_an_incomplete_answer() -> None:
    """Whatever answers there is not an edge; the text so far is kept."""
    out = io.StringIO()

    with pytest.raises(AnswerIncomplete, match="invalid event from the edge"):
        print_answer([*_frames(START, PIECE), b"event: delta\ndata: {\n\n"], out)
    assert "half an\n[incomplete]\n" == out.getvalue()


@pytest.mark.parametrize(
    "event",
    [
        *(("delta", {}), ("delta", []), ("delta", {"text": 1}), ("start", 1), ("tool_call", 0)),
        *(("error", None), ("error", {}), ("error", {"error": "x"})),
        *(("done", {}), ("done", []), ("done", {"usage": 1, "cache": None})),
    ],
)
def test_an_event_of_another_shape_is_no_crash(event: tuple[str, Any]) -> None:
    """Whatever comes with a chunk, what came before it is printed, however the bytes are cut."""
    stream = b"".join(_frames(START, PIECE, event))
    for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        out = io.StringIO()
        with pytest.raises(AnswerIncomplete):
            print_answer(chunks, out)
        assert out.getvalue().startswith("half an")


def test_each_chunk_is_printed_before_the_next_is_read() -> None:
    """The user sees the answer as it arrives."""
    out = io.StringIO()
    seen: list[str] = []

    def chunks() -> Iterator[bytes]:
        for frame in _frames(START, PIECE, ("delta", {"text": " answer"}), ("done", _done())):
            yield frame
            seen.append(out.getvalue())

    print_answer(chunks(), out)
    assert ["", "half an", "half an answer"] == seen


def _done(**changes: Any) -> dict[str, Any]:
    attempt = {
        "attempt_number": 1,
        "target": "primary",
        "outcome": "provider_error",
        "error_code": "server_error",
        "duration_seconds": 0.104,
    }
    return {
        "model": "gpt-6-luna",
        "provider": "openai",
        "finish_reason": "stop",
        "usage": {"input_tokens": 12, "output_tokens": 8},
        "cost_usd": "0.000123000",
        "attempts": [attempt, {**attempt, "attempt_number": 2, "outcome": "ok", "error_code": None}],
        "cache": {"status": "miss", "stored": True, "saved_cost_usd": None},
        **changes,
    }


def test_a_receipt_names_model_attempts_tokens_cost_and_request() -> None:
    """One line per fact and per attempt."""
    assert [
        "  model    gpt-6-luna (openai), finished: stop",
        "  cache    miss, stored",
        "  attempt  1  primary  provider_error (server_error)  0.10 s",
        "  attempt  2  primary  ok  0.10 s",
        "  tokens   12 in, 8 out",
        "  cost     0.000123000 USD",
        "  request  0193",
    ] == receipt_lines({"request_id": "0193"}, _done())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"cost_usd": None}, "  cost     unpriced"),
        ({"usage": None}, "  tokens   unknown in, unknown out"),
        (
            {"cost_usd": "0", "cache": {"status": "hit", "saved_cost_usd": "0.5"}},
            "  cost     0 USD, saved 0.5 USD",
        ),
    ],
)
def test_a_receipt_tells_unknown_from_zero(changes: dict[str, Any], line: str) -> None:
    """Unpriced is not free, unknown is not zero, and a hit says what it saved."""
    assert line in receipt_lines({}, _done(**changes))


def test_costs_are_a_table_with_aligned_columns() -> None:
    """Today, total, then each group; figures are aligned with their headings."""
    figures = {
        "requests": 12,
        "attempts": 13,
        "input_tokens": 1000,
        "output_tokens": 20,
        "cost_usd": "1.5",
        "unpriced_attempts": 0,
        "cache_hits": 1,
        "cache_misses": 11,
        "cache_bypasses": 0,
        "saved_cost_usd": "",
    }
    lines = table_lines(
        {
            "currency": "USD",
            "today": {"day": "2026-11-21", **figures},
            "total": figures,
            "by_user": [{"user": "developer", **figures}],
            "by_model": [],
            "by_day": [{"day": "2026-11-21", **figures}],
        }
    )

    rows = {line.split()[0]: line for line in lines if line.strip()}
    column = lines[0].index("cost") + len("cost")
    assert rows["today"][:column].endswith(" 1.500000")
    assert rows["developer"][:column].endswith(" 1.500000")
    assert rows["total"].endswith(" 0.000000")
    assert "Costs in USD; input and output in tokens." == lines[-1]


RECORD = {
    "request_id": "019aa3c4",
    "state": "settled",
    "user": "ada",
    "key_id": "key-1",
    "endpoint": "/chat",
    "requested_model": "default",
    "admitted_at": "2026-11-21T08:00:00.123Z",
    "outcome": "ok",
    "error_code": None,
    "cache_status": "miss",
    "duration_seconds": 1.234,
    "cost_usd": "0.000123000",
    "saved_cost_usd": None,
}


def test_requests_are_a_table_that_tells_running_from_unpriced() -> None:
    """A failure shows its code, a running request has no cost yet, an unpriced one says so."""
    running = {**RECORD, "state": "admitted", "outcome": None, "cache_status": None, "duration_seconds": None}
    failed = {**RECORD, "outcome": "provider_error", "error_code": "all_targets_failed", "cost_usd": None}
    lines = request_lines([RECORD, {**running, "cost_usd": None}, failed])

    assert [
        "request   admitted             user  model    state     outcome             cache  seconds         cost",
        "019aa3c4  2026-11-21 08:00:00  ada   default  settled   ok                  miss      1.23  0.000123000",
        "019aa3c4  2026-11-21 08:00:00  ada   default  admitted  -                   -            -            -",
        "019aa3c4  2026-11-21 08:00:00  ada   default  settled   all_targets_failed  miss      1.23     unpriced",
    ] == lines[:4]


def test_names_from_outside_cannot_control_the_terminal() -> None:
    """Escape sequences and line breaks are shown as question marks."""
    lines = request_lines([{**RECORD, "user": "a\x1b[2Jd\na"}])

    assert "a?[2Jd?a" in lines[1]


def test_a_stored_receipt_shows_attempts_and_corrections() -> None:
    """The recorded cost stays beside the current one."""
    attempt = {
        "attempt_number": 1,
        "target": "primary",
        "outcome": "ok",
        "error_code": None,
        "usage": {"input_tokens": 12, "output_tokens": None},
        "dropped": ["seed", "messages.0.name"],
        "cost_usd": None,
        "price_version": None,
        "corrections": [
            {"cost_usd": "0.5", "price_version": "v2", "reason": "reprice", "corrected_at": "2026-11-21T09:00:00Z"}
        ],
    }

    assert [
        "attempt   1  primary  ok  12 in, unknown out  unpriced",
        "          without seed, messages.0.name",
        "          corrected to 0.5 by v2 (reprice, 2026-11-21T09:00:00Z)",
        "cost      0.5 USD",
    ] == record_lines({**RECORD, "attempts": [attempt], "cost_usd": "0.5"})[-4:]
