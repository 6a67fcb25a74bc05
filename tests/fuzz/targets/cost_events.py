"""Cost events: recorded, or put aside with a reason."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from cost_ledger.errors import PoisonedEvent
from cost_ledger.recording.event import SettledEvent, read_event
from cost_ledger.recording.repair import repair_event
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from ..mutation import in_message
from ..target import Target

_APPENDED = datetime(2025, 1, 1, tzinfo=UTC)


def check(data: bytes) -> None:
    """Any bytes are an event or a dead letter; a letter that was repaired needs no other repair."""
    _check_read(data)
    try:
        message = ledgerpb.CostEvent.FromString(data)
    except DecodeError:
        return
    repair_event(message, _APPENDED)
    repaired = message.SerializeToString()
    assert [] == repair_event(message, _APPENDED)
    _check_read(repaired)


def _check_read(data: bytes) -> None:
    try:
        event = read_event(data)
    except PoisonedEvent as error:
        str(error).encode()
        return
    event.occurred_at.timestamp()
    if isinstance(event, SettledEvent):
        numbers = [attempt.facts.attempt_number for attempt in event.attempts]
        assert sorted(set(numbers)) == numbers


TARGETS = [Target("cost_event", check, in_message(ledgerpb.CostEvent))]
