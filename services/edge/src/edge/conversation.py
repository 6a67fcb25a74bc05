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

    def prompt_bytes(self) -> int:
        """How many UTF-8 bytes of text the prompt has, for an estimate of its tokens."""
        return sum(_text_bytes(message.get("content")) for message in self.body["messages"])


def _text_bytes(content: object) -> int:
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, list):
        return sum(_text_bytes(part.get("text")) for part in content if isinstance(part, dict))
    return 0
