"""What a client asked for, whichever contract it used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from spillway.router.v1 import router_pb2 as routerpb

# Fields of a chat body that cannot change the answer: who asks, how it is delivered, what is kept elsewhere.
# Everything else is part of the cache key, fields that nobody here knows included.
WITHOUT_EFFECT = frozenset(
    {
        "continuation",  # an answer that was continued is never stored
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream",
        "stream_options",
        "user",
    }
)


# How a body says whether an answer that broke off may be carried on by another target.
ContinuationWish = Literal["allow", "never"]
CONTINUATIONS: dict[ContinuationWish | None, routerpb.Continuation.ValueType] = {
    None: routerpb.CONTINUATION_UNSPECIFIED,
    "allow": routerpb.CONTINUATION_ALLOW,
    "never": routerpb.CONTINUATION_NEVER,
}


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """A request of Anthropic's Messages API as its client sent it: for targets that speak this contract themselves."""

    body: bytes
    """The JSON of the client, byte for byte."""
    fields: dict[str, Any]
    """The same, parsed."""
    beta: str
    """The client's `anthropic-beta` header; empty: it sent none."""
    untranslatable: tuple[str, ...]
    """The fields that the chat body cannot say and that would change the answer, by the client's names."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request, turned into an OpenAI chat body."""

    endpoint: str
    """The path it came in by."""
    requested_model: str
    body: dict[str, Any]
    """Without `model`, `stream` and `stream_options`; no value is None."""
    is_streaming: bool
    include_usage: bool = True
    """Whether the stream ends with the usage (OpenAI's contract asks)."""
    continuation: routerpb.Continuation.ValueType = routerpb.CONTINUATION_UNSPECIFIED
    """Whether another target may carry on an answer that broke off."""
    messages_form: MessagesForm | None = None
    """The native form of a request to `/v1/messages`; `body` is then its translation."""

    def prompt_bytes(self) -> int:
        """How many UTF-8 bytes of text the prompt has, for an estimate of its tokens."""
        return sum(_text_bytes(message.get("content")) for message in self.body["messages"])


def _text_bytes(content: object) -> int:
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, list):
        return sum(_text_bytes(part.get("text")) for part in content if isinstance(part, dict))
    return 0
