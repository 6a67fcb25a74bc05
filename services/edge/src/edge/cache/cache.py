"""Step 3 of the request path: the response cache, exact. What makes two requests the same, and what is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from edge.assembly import MessagesEvent
from edge.conversation import WITHOUT_EFFECT, Conversation
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

# From the moment of writing; a hit does not extend it, so that a wrong answer dies however popular it is.
TTL_SECONDS = 24 * 60 * 60
# An answer this long is hardly asked for twice, and Redis is shared with the cost events.
LARGEST_ANSWER_BYTES = 1024 * 1024
_FORMAT = 1
# How a whole answer can end.
ENDS: frozenset[int] = frozenset(
    {
        routerpb.FINISH_REASON_STOP,
        routerpb.FINISH_REASON_LENGTH,
        routerpb.FINISH_REASON_CONTENT_FILTER,
        routerpb.FINISH_REASON_TOOL_CALL,
    }
)


@dataclass(slots=True)
class Answer:
    """A whole answer, or what there is of it so far."""

    chunks: list[str | bytes] = field(default_factory=list)
    """In order: text of choice 0, the `choices` array of an OpenAI chunk as JSON, or a `MessagesEvent`."""
    finish_reasons: list[routerpb.FinishReason.ValueType] = field(default_factory=list)
    provider: str = ""
    target_model: str = ""
    response_model: str = ""
    system_fingerprint: str = ""
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text of choice 0, from the chunks of the fast path."""
        return "".join(chunk for chunk in self.chunks if isinstance(chunk, str))


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
    provider: str
    target_model: str
    response_model: str
    system_fingerprint: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the client's `Cache-Control` allows, and why not if it does not."""

    may_read: bool
    may_write: bool
    bypass_reason: str


def read_cache_control(header: str | None) -> CachePolicy:
    """Obey `no-store` (neither read nor write) and `no-cache` (do not read, but write)."""
    directives = {directive.strip().lower() for directive in (header or "").split(",")}
    if "no-store" in directives:
        return CachePolicy(may_read=False, may_write=False, bypass_reason="client_no_store")
    if "no-cache" in directives:
        return CachePolicy(may_read=False, may_write=True, bypass_reason="client_no_cache")
    return CachePolicy(may_read=True, may_write=True, bypass_reason="")


def cache_key(tenant: str, conversation: Conversation) -> str:
    """Return the Redis key of the answer: every field of the body that can change it, the model, and the tenant.

    The encoding is canonical: keys sorted, absent fields absent, so `temperature` unset is not `temperature` 0. For
    `/v1/messages` the native form counts, of which the translation may say less; no other contract shares its keys.
    """
    form = conversation.messages_form
    relevant = [_relevant(conversation.body)] if form is None else [_relevant(form.fields), "messages", form.beta]
    document = [tenant, conversation.requested_model, *relevant]
    return "spillway:cache:" + hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _relevant(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT and value is not None}


def encode(answer: Answer) -> bytes | None:
    """Return what is stored under the key; None when the answer is too long to be kept."""
    usage = answer.usage or Usage()
    document: dict[str, Any] = {
        "format": _FORMAT,
        "chunks": [_encode_chunk(chunk) for chunk in answer.chunks],
        "finish_reasons": list(answer.finish_reasons),
        "provider": answer.provider,
        "target_model": answer.target_model,
        "response_model": answer.response_model,
        "system_fingerprint": answer.system_fingerprint,
        "usage": {name: getattr(usage, name) for name in Usage.__slots__},
    }
    value = orjson.dumps(document)
    return value if len(value) <= LARGEST_ANSWER_BYTES else None


def decode(value: bytes) -> Answer | None:
    """Read a stored answer back; None when it is damaged or another version of this program wrote it."""
    try:
        entry = _Entry.model_validate_json(value)
    except ValidationError:
        return None
    if not entry.finish_reasons or not ENDS.issuperset(entry.finish_reasons):
        return None
    return Answer(
        chunks=[_decode_chunk(chunk) for chunk in entry.chunks],
        finish_reasons=cast("list[routerpb.FinishReason.ValueType]", entry.finish_reasons),
        provider=entry.provider,
        target_model=entry.target_model,
        response_model=entry.response_model,
        system_fingerprint=entry.system_fingerprint,
        usage=entry.usage,
    )


def _encode_chunk(chunk: str | bytes) -> object:
    if isinstance(chunk, MessagesEvent):
        return {"messages_event": orjson.Fragment(bytes(chunk))}
    return chunk if isinstance(chunk, str) else orjson.Fragment(chunk)


def _decode_chunk(chunk: str | list[dict[str, Any]] | _StoredEvent) -> str | bytes:
    if isinstance(chunk, _StoredEvent):
        return MessagesEvent(orjson.dumps(chunk.messages_event))
    return chunk if isinstance(chunk, str) else orjson.dumps(chunk)
