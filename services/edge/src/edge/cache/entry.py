"""How the response cache writes an answer, and reads it back only when every part of it makes sense."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.answer import ENDS, Answer
from edge.assembly import MessagesEvent
from pricing.usage import FIELDS, TEXT_FIELDS, Usage
from spillway.router.v1 import router_pb2 as routerpb

# A longer answer is seldom requested twice, and Redis is shared with the cost events.
MAX_ANSWER_BYTES = 1024 * 1024
_FORMAT = 1


# What is replayed is also recorded, where longer names and larger counts have no place.
_Name = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
_MAX_COUNT = 10**10
_MAX_TEXT_CHARACTERS = 500


class _StoredEvent(BaseModel):
    """A chunk that is a `MessagesEvent`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages_event: dict[str, Any]


class _Entry(BaseModel):
    """What is stored under a key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    chunks: list[str | list[dict[str, Any]] | _StoredEvent]
    finish_reasons: list[int]
    provider: _Name
    target_model: _Name
    response_model: _Name
    system_fingerprint: _Name
    usage: Usage
    response_fields: dict[str, Any] = {}


def encode(answer: Answer) -> bytes | None:
    """Return what is stored under the key; None when the answer is too long to be kept."""
    if not answer.is_kept or sum(map(len, answer.chunks)) > MAX_ANSWER_BYTES:
        return None
    usage = answer.usage or Usage()
    document: dict[str, Any] = {
        "format": _FORMAT,
        "chunks": [_encode_chunk(chunk) for chunk in answer.chunks],
        "finish_reasons": list(answer.finish_reasons),
        "provider": answer.provider,
        "target_model": answer.target_model,
        "response_model": answer.response_model,
        "system_fingerprint": answer.system_fingerprint,
        "usage": {name: count for name in FIELDS if (count := getattr(usage, name)) is not None},
    }
    if answer.response_fields:  # an older edge does not know it, and takes the entry for damaged
        document["response_fields"] = answer.response_fields
    value = orjson.dumps(document)
    return value if len(value) <= MAX_ANSWER_BYTES else None


def decode(value: bytes) -> Answer | None:
    """Read a stored answer back; None when it is damaged or another version of this program wrote it."""
    try:
        return _decode(value)
    except (ValidationError, TypeError):  # a number of more than 64 bits can be read and not be written
        return None


def _decode(value: bytes) -> Answer | None:
    entry = _Entry.model_validate_json(value)
    if not entry.finish_reasons or not ENDS.issuperset(entry.finish_reasons) or not _is_recordable(entry.usage):
        return None
    orjson.dumps(entry.response_fields)  # as every answer does
    return Answer(
        chunks=[_decode_chunk(chunk) for chunk in entry.chunks],
        finish_reasons=cast("list[routerpb.FinishReason.ValueType]", entry.finish_reasons),
        provider=entry.provider,
        target_model=entry.target_model,
        response_model=entry.response_model,
        system_fingerprint=entry.system_fingerprint,
        usage=entry.usage,
        response_fields=entry.response_fields,
    )


def _is_recordable(usage: Usage) -> bool:
    values = {name: value for name in FIELDS if (value := getattr(usage, name)) is not None}
    return all(
        len(value) <= _MAX_TEXT_CHARACTERS and value.isprintable() if name in TEXT_FIELDS else 0 <= value <= _MAX_COUNT
        for name, value in values.items()
    )


def _encode_chunk(chunk: str | bytes) -> object:
    if isinstance(chunk, MessagesEvent):
        return {"messages_event": orjson.Fragment(bytes(chunk))}
    return chunk if isinstance(chunk, str) else orjson.Fragment(chunk)


def _decode_chunk(chunk: str | list[dict[str, Any]] | _StoredEvent) -> str | bytes:
    if isinstance(chunk, _StoredEvent):
        return MessagesEvent(orjson.dumps(chunk.messages_event))
    return chunk if isinstance(chunk, str) else orjson.dumps(chunk)
