"""What a client asks for, whichever contract it uses: an answer to a conversation, or the vectors of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

# Fields of a chat body that cannot change the answer: who asks, how it is delivered, what is kept elsewhere.
# Everything else is part of the cache key, unknown fields included.
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


# How a body says whether another target may carry on an answer that broke off.
ContinuationOption = Literal["allow", "never"]
CONTINUATIONS: dict[ContinuationOption | None, routerpb.Continuation.ValueType] = {
    None: routerpb.CONTINUATION_UNSPECIFIED,
    "allow": routerpb.CONTINUATION_ALLOW,
    "never": routerpb.CONTINUATION_NEVER,
}


# JSON can be read deeper than it can be written, and the router wraps the body in some more levels.
_SPARE_LEVELS = 10


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What the limit on prompts goes by."""

    tokens: int
    """By estimate."""
    what: str
    """What is that long, for the person who reads the error."""
    param: str
    """The field of the body that it is from."""


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
    """A request for an answer, turned into an OpenAI chat body."""

    endpoint: str
    """The path it came in by."""
    requested_model: str | None
    """None: the client leaves the choice to the gateway."""
    body: dict[str, Any]
    """Without `model`, `stream` and `stream_options`; no value is None."""
    encoded_body: bytes
    """The body as JSON, as the router gets it; see `encode_body`."""
    estimated_input_tokens: int
    is_streaming: bool
    include_usage: bool = True
    """Whether the stream ends with the usage (OpenAI's contract asks)."""
    continuation: routerpb.Continuation.ValueType = routerpb.CONTINUATION_UNSPECIFIED
    """Whether another target may carry on an answer that broke off."""
    messages_form: MessagesForm | None = None
    """The native form of a request to `/v1/messages`; `body` is then its translation."""

    @property
    def longest(self) -> PromptSize:
        """The size that the limit on prompts goes by."""
        return PromptSize(self.estimated_input_tokens, "the prompt", "messages")


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A request for vectors, turned into an OpenAI embeddings body."""

    endpoint: str
    requested_model: str | None
    encoded_body: bytes
    """The body as JSON, without `model` and `encoding_format`."""
    estimated_input_tokens: int
    """Of all inputs."""
    longest: PromptSize
    encoding_format: Literal["float", "base64"]
    is_streaming: bool = False


Content = Conversation | EmbeddingInput
"""What one exchange is about."""


def encode_body(body: dict[str, Any]) -> bytes:
    """Write a body as JSON, once for its whole way; Problem (400) when it is nested too deeply to travel on."""
    nested: Any = body
    for _ in range(_SPARE_LEVELS):
        nested = [nested]
    try:
        return orjson.dumps(nested)[_SPARE_LEVELS:-_SPARE_LEVELS]
    except TypeError as error:
        raise Problem("invalid_request", "the body is nested too deeply") from error
