"""Makes a cost event fit for the tables: what it does is what an operator would have to do to the event by hand.

Only what is plainly garbage is changed, and each change is named. Nothing becomes a smaller number: a count that cannot
be one becomes unknown, and its attempt unpriced. Who asked (tenant, request id) is never invented.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, MutableSequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cost_ledger.recording.event import MAX_COUNTS, MAX_TOKENS
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

# So many in each of its texts leave room for them in an index of PostgreSQL (2,704 bytes a row).
MAX_TEXT_BYTES = 250
# The names of fields that were left out: 50, and how many more there are.
MAX_TEXTS = 51
_MAX_STATUS = 999
_MAX_SECONDS = 30 * 24 * 60 * 60
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# 1 January 1970 to 2200: what is outside was no clock.
_MOMENTS = range(7_258_118_400)


def repair_event(event: ledgerpb.CostEvent, appended: datetime) -> list[str]:
    """Change `event`; return what was changed, empty when nothing had to be.

    `appended` is when it was put on the stream, which is within seconds of every moment in it that is missing.
    """
    changes = list(_repair(event, "", appended))
    kind = event.WhichOneof("event")
    if kind is not None and not _is_uuid(event.event_id):
        request_id = getattr(event, kind).request.request_id
        if _is_uuid(request_id):
            event.event_id = str(uuid.uuid5(uuid.UUID(request_id), kind))
            changes.append("event_id: made anew")
    return changes


def appended_at(entry_id: str) -> datetime:
    """Return the time in the id of an entry of a stream."""
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)


def _repair(message: Message, path: str, appended: datetime) -> Iterator[str]:
    yield from _set_missing_moments(message, path, appended)
    for field, value in message.ListFields():
        place = f"{path}{field.name}"
        if isinstance(value, Timestamp):
            if value.seconds not in _MOMENTS or not 0 <= value.nanos < 10**9:
                value.FromDatetime(appended)
                yield f"{place}: no moment, now {appended:%Y-%m-%dT%H:%M:%SZ}"
        elif isinstance(value, Duration):
            if not 0 <= value.seconds <= _MAX_SECONDS or not 0 <= value.nanos < 10**9:
                value.Clear()
                yield f"{place}: no duration, now 0"
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for number, each in enumerate(value if field.is_repeated else [value], 1):
                yield from _repair(each, f"{place}[{number}]." if field.is_repeated else f"{place}.", appended)
        elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
            yield from _repair_texts(value, place)
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield from _repair_text(message, field.name, place, value)
        elif isinstance(message, routerpb.Usage) and not 0 <= value < MAX_COUNTS.get(field.name, MAX_TOKENS):
            message.ClearField(field.name)  # type: ignore[arg-type]
            # Left out, it would make the cost a smaller one; so named, it makes it unknown.
            message.unpriced_units = ",".join(filter(None, [message.unpriced_units, field.name]))
            yield f"{place}: {value} is no count, now unknown, and the attempt unpriced"
        elif field.name == "http_status" and value > _MAX_STATUS:
            message.ClearField("http_status")
            yield f"{place}: {value} is no status, now none"


def _repair_text(message: Message, name: str, place: str, text: str) -> Iterator[str]:
    fit, changes = _fit(text, place, is_code=isinstance(message, routerpb.Usage))
    yield from changes
    if fit != text:
        setattr(message, name, fit)


def _repair_texts(texts: MutableSequence[str], place: str) -> Iterator[str]:
    """Each for itself, and no more of them than any request has."""
    if len(texts) > MAX_TEXTS:
        yield f"{place}: {len(texts):,} of them, now {MAX_TEXTS}"
        del texts[MAX_TEXTS:]
    for index, text in enumerate(texts):
        fit, changes = _fit(text, f"{place}[{index + 1}]", is_code=False)
        yield from changes
        texts[index] = fit


def _fit(text: str, place: str, *, is_code: bool) -> tuple[str, list[str]]:
    """Return a text as it can be recorded, and what was changed."""
    changes = []
    fit = "".join(_REPLACEMENT if each == "\0" or (is_code and not each.isprintable()) else each for each in text)
    if fit != text:
        changes.append(f"{place}: {'control characters' if is_code else 'NUL'} replaced")
    if len(fit.encode()) > MAX_TEXT_BYTES:
        fit = fit.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        changes.append(f"{place}: cut from {len(text):,} characters to {len(fit)}")
    return fit, changes


def _set_missing_moments(message: Any, path: str, appended: datetime) -> Iterator[str]:
    """Those that the ledger needs; a time to the first token may be missing."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is Timestamp.DESCRIPTOR and not message.HasField(field.name):
            getattr(message, field.name).FromDatetime(appended)
            yield f"{path}{field.name}: missing, now {appended:%Y-%m-%dT%H:%M:%SZ}"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
