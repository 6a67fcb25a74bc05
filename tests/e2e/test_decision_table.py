"""The decision table from the front door to the ledger: what the client got, what the provider saw, what was recorded.

All rows are tested at the router (services/llm-router/tests/test_decision_table.py), here one for each kind of outcome.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fault_provider.answers import expected_text
from kit.decision_table import INTERRUPTED, MOVED_ON, ORDERS, REJECTED, Row
from kit.front_door.edge_client import EdgeClient, Provider

WHOLE = expected_text("ok")


def rows(table: list[Row]) -> pytest.MarkDecorator:
    """Run a test over one row for each kind of outcome, with `make nightly` over all rows, in both orders."""
    kinds = {(row.outcome, row.code, row.tries, row.distance): row for row in reversed(table)}
    return pytest.mark.parametrize(
        ("row", "first", "second"),
        [
            pytest.param(
                row,
                *order,
                id=f"{row.name}-{order[0]}-first",
                marks=() if row in kinds.values() and order == ORDERS[0] else pytest.mark.nightly,
            )
            for row in table
            for order in ORDERS
        ],
    )


def reported(attempt: dict[str, Any]) -> tuple[str, str, str | None, bool]:
    """Return who was asked and how that ended, as the ledger has it, and whether it is billed."""
    return attempt["provider"], attempt["outcome"], attempt["error_code"], attempt["usage"] is not None


@rows(MOVED_ON)
async def test_before_the_first_word_the_next_target_answers(
    edge: EdgeClient, provider: Provider, row: Row, first: str, second: str
) -> None:
    """The reader sees the second target's answer and nothing else; every try is recorded, none too many was made."""
    chat = await edge.chat(model=f"table-{row.name}-{first}")
    asked = await provider.asked(f"table-{row.name}-{first}", chat.query)
    receipt = await edge.receipt(chat.request_id)

    assert ("done", WHOLE, second) == (chat.names[-1], chat.text, chat.last["provider"])
    assert row.tries == len(asked)
    for earlier, later in pairwise(float(attempt["received_at"]) for attempt in asked):
        assert row.distance[0] <= later - earlier <= row.distance[1]
    assert 1 == len(await provider.asked(f"table-{row.name}-{first}-next", chat.query))
    failed = (first, row.outcome, row.code, row.is_billed)
    assert [failed] * row.tries + [(second, "ok", None, True)] == [reported(attempt) for attempt in receipt["attempts"]]
    assert {"estimated" if row.is_billed else None} == {
        attempt["usage_source"] for attempt in receipt["attempts"][: row.tries]
    }
    assert "reported" == receipt["attempts"][-1]["usage_source"]
    assert ("ok", None) == (receipt["outcome"], receipt["error_code"])


@rows(REJECTED)
async def test_the_callers_error_is_told_and_nobody_else_is_asked(
    edge: EdgeClient, provider: Provider, row: Row, first: str, second: str
) -> None:
    """One attempt, which costs nothing."""
    chat = await edge.chat(model=f"table-{row.name}-{first}")
    receipt = await edge.receipt(chat.request_id)

    assert ["start", "error"] == chat.names
    assert (row.code, False) == (chat.last["error"]["code"], chat.last["error"]["retryable"])
    assert 1 == len(await provider.asked(f"table-{row.name}-{first}", chat.query))
    assert [] == await provider.attempts(f"table-{row.name}-{first}-next")
    assert [(first, row.outcome, row.code, False)] == [reported(attempt) for attempt in receipt["attempts"]]
    assert row.code == receipt["error_code"]


@rows(INTERRUPTED)
async def test_after_the_first_word_the_end_is_honest(
    edge: EdgeClient, provider: Provider, row: Row, first: str, second: str
) -> None:
    """One answerer, an error that says how much came, and a bill for what was used."""
    chat = await edge.chat(model=f"table-{row.name}-{first}")
    receipt = await edge.receipt(chat.request_id)

    assert "error" == chat.names[-1]
    assert "done" not in chat.names
    assert WHOLE.startswith(chat.text)
    assert chat.text
    assert ("stream_interrupted", True) == (chat.last["error"]["code"], chat.last["error"]["retryable"])
    assert f"broke off after {len(chat.text)} characters" in chat.last["error"]["message"]
    assert 1 == len(await provider.asked(f"table-{row.name}-{first}", chat.query))
    assert [] == await provider.attempts(f"table-{row.name}-{first}-next")
    (attempt,) = receipt["attempts"]
    assert (first, "interrupted", row.code, True) == reported(attempt)
    assert "estimated" == attempt["usage_source"]
    assert attempt["usage"]["output_tokens"] > 0
    assert "interrupted" == receipt["outcome"]
