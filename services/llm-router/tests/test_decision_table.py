"""Each row of the decision table, at the router: what its caller gets, and what the providers see."""

from __future__ import annotations

from itertools import pairwise

import grpc
import pytest

from fault_provider.answers import expected_text
from kit.decision_table import INTERRUPTED, MOVED_ON, ORDERS, REJECTED, Row
from kit.router.process import Router, Seen
from spillway.router.v1 import router_pb2 as routerpb

WHOLE = expected_text("ok")
IN_BOTH_ORDERS = pytest.mark.parametrize(("first", "second"), ORDERS, ids=[f"{order[0]}-first" for order in ORDERS])


def rows(table: list[Row]) -> pytest.MarkDecorator:
    """Run a test over these rows."""
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


def ended(attempt: routerpb.Attempt) -> tuple[str, str, str, bool]:
    """Return who was asked and how that ended, and whether it is billed."""
    outcome = routerpb.Outcome.Name(attempt.outcome).removeprefix("OUTCOME_").lower()
    return attempt.provider, outcome, attempt.error_code, attempt.HasField("usage")


@rows(MOVED_ON)
@IN_BOTH_ORDERS
async def test_fault_before_first_content_falls_back(
    router: Router, seen: Seen, row: Row, first: str, second: str
) -> None:
    """The second target answers, the caller gets its words alone, and the first is tried as often as the row says."""
    stream = await router.complete(f"table-{row.name}-{first}")

    asked = seen.attempts(f"table-{row.name}-{first}")
    assert WHOLE == "".join(stream.texts)
    assert stream.finished is not None
    assert row.tries == len(asked)
    for earlier, later in pairwise(float(str(attempt["received_at"])) for attempt in asked):
        assert row.distance[0] <= later - earlier <= row.distance[1]
    assert 1 == len(seen.attempts(f"table-{row.name}-{first}-next"))
    failed = (first, row.outcome, row.code, row.is_billed)
    assert [failed] * row.tries + [(second, "ok", "", True)] == [ended(attempt) for attempt in stream.attempts]
    for attempt in stream.attempts[: row.tries]:
        assert not row.is_billed or routerpb.USAGE_SOURCE_ESTIMATED == attempt.usage_source
    assert routerpb.USAGE_SOURCE_REPORTED == stream.attempts[-1].usage_source
    assert [*range(1, row.tries + 2)] == [started.attempt_number for started in stream.started]


@rows(REJECTED)
@IN_BOTH_ORDERS
async def test_callers_error_is_returned_without_retry_or_fallback(
    router: Router, seen: Seen, row: Row, first: str, second: str
) -> None:
    """One attempt, which costs nothing; a missing model (404) is our misconfiguration and is not routed around."""
    stream = await router.complete(f"table-{row.name}-{first}")

    assert stream.error is not None
    assert (row.code, False) == (stream.error.code, stream.error.retryable)
    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
    assert [] == stream.texts
    assert 1 == len(seen.attempts(f"table-{row.name}-{first}"))
    assert [] == seen.attempts(f"table-{row.name}-{first}-next")
    assert [(first, row.outcome, row.code, False)] == [ended(attempt) for attempt in stream.attempts]


@rows(INTERRUPTED)
@IN_BOTH_ORDERS
async def test_fault_after_first_content_ends_with_an_error(
    router: Router, seen: Seen, row: Row, first: str, second: str
) -> None:
    """No other target is asked, no success is reported, and the partial answer has an estimated usage."""
    stream = await router.complete(f"table-{row.name}-{first}")

    delivered = "".join(stream.texts)
    assert delivered
    assert WHOLE.startswith(delivered)
    assert stream.finished is None
    assert grpc.StatusCode.ABORTED == stream.status
    assert stream.error is not None
    assert ("stream_interrupted", len(delivered)) == (stream.error.code, stream.error.delivered_characters)
    assert 1 == len(seen.attempts(f"table-{row.name}-{first}"))
    assert [] == seen.attempts(f"table-{row.name}-{first}-next")
    (attempt,) = stream.attempts
    assert (first, row.outcome, row.code, True) == ended(attempt)
    assert routerpb.FINISH_REASON_ERROR == attempt.finish_reason
    assert routerpb.USAGE_SOURCE_ESTIMATED == attempt.usage_source
    assert attempt.usage.output_tokens > 0
