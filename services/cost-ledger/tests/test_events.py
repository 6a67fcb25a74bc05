"""What is a valid cost event; the reason why one is invalid never quotes what is in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cost_ledger.errors import PoisonedEvent
from cost_ledger.recording.event import MAX_TOKENS, read_event
from kit.ledger.cost_events import attempt, request, settled, used
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

SECRET = "Tell me how to open the red box"


def broken(change: Callable[[ledgerpb.CostEvent], None]) -> bytes:
    """Return a good event that was changed."""
    event = settled(request(), [attempt(usage=used())])
    change(event)
    return event.SerializeToString()


def _set_request_id(event: ledgerpb.CostEvent) -> None:
    event.settled.request.request_id = SECRET


def _drop_tenant(event: ledgerpb.CostEvent) -> None:
    event.settled.request.tenant = ""


def _set_event_id(event: ledgerpb.CostEvent) -> None:
    event.event_id = SECRET


def _drop_event(event: ledgerpb.CostEvent) -> None:
    event.ClearField("settled")


def _drop_settled_at(event: ledgerpb.CostEvent) -> None:
    event.settled.ClearField("settled_at")


def _leave_time(event: ledgerpb.CostEvent) -> None:
    event.settled.request.admitted_at.seconds = 2**62


def _leave_duration(event: ledgerpb.CostEvent) -> None:
    event.settled.duration.seconds = 2**62


def _repeat_number(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts.append(attempt(1))


def _number_zero(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].attempt_number = 0


def _huge_number(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].attempt_number = 2**32 - 1


def _negative_tokens(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].usage.input_tokens = -1


def _huge_tokens(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].usage.output_tokens = MAX_TOKENS


def _huge_saved_tokens(event: ledgerpb.CostEvent) -> None:
    event.settled.saved.usage.input_tokens = 2**63 - 1


def _unknown_outcome(event: ledgerpb.CostEvent) -> None:
    event.settled.MergeFromString(b"\x10\x63")  # field 2, outcome, 99


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set_request_id, "request_id is not a UUID"),
        (_set_event_id, "event_id is not a UUID"),
        (_drop_tenant, "no tenant"),
        (_drop_event, "neither admitted nor settled"),
        (_drop_settled_at, "no settled_at"),
        (_leave_time, None),
        (_leave_duration, None),
        (_repeat_number, "two attempts with the same number"),
        (_number_zero, "attempt number 0 is not within 1 and 10,000"),
        (_huge_number, "attempt number 4294967295 is not within 1 and 10,000"),
        (_negative_tokens, "input_tokens -1 is not within 0 and 1000000000000"),
        (_huge_tokens, "output_tokens 1000000000000 is not within 0 and 1000000000000"),
        (_huge_saved_tokens, "input_tokens 9223372036854775807 is not within 0 and 1000000000000"),
        (_unknown_outcome, "Outcome has no value 99"),
    ],
)
def test_an_invalid_event_is_refused_with_the_reason(
    change: Callable[[ledgerpb.CostEvent], None], reason: str | None
) -> None:
    """The reason holds numbers and names of fields, but no text of the event."""
    with pytest.raises(PoisonedEvent) as caught:
        read_event(broken(change))

    assert "invalid" == caught.value.kind
    assert reason in (None, caught.value.reason)
    assert SECRET not in caught.value.reason


@pytest.mark.parametrize("data", [b"\xff\xff", SECRET.encode(), b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_event_are_unreadable(data: bytes) -> None:
    """Garbage, plain text and strings that are not UTF-8 do not parse; nothing of them is quoted."""
    with pytest.raises(PoisonedEvent) as caught:
        read_event(data)

    assert ("unreadable", "not a CostEvent") == (caught.value.kind, caught.value.reason)


def test_nothing_at_all_is_no_event() -> None:
    """An empty message parses and says nothing."""
    with pytest.raises(PoisonedEvent, match="no event_id"):
        read_event(b"")


def test_usage_that_is_absent_is_not_usage_of_nothing() -> None:
    """An attempt without usage did no billable work; one with empty usage did work of an unknown amount."""
    event = settled(request(), [attempt(1), attempt(2, usage=routerpb.Usage())])
    read = read_event(event.SerializeToString())

    assert not hasattr(read, "admitted")
    first, second = read.attempts  # type: ignore[union-attr]
    assert first.usage is None
    assert second.usage is not None
    assert second.usage.input_tokens is None
