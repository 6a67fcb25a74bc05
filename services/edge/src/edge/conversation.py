"""What a client asks for, whichever contract it uses: an answer to a conversation, or the vectors of inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


# How a chat body says how long an answer may be; the first is what is added to one that does not.
_MAX_OUTPUT = ("max_completion_tokens", "max_tokens")

# How a body says whether another target may carry on an answer that broke off.
ContinuationOption = Literal["allow", "never"]
CONTINUATIONS: dict[ContinuationOption | None, routerpb.Continuation.ValueType] = {
    None: routerpb.CONTINUATION_UNSPECIFIED,
    "allow": routerpb.CONTINUATION_ALLOW,
    "never": routerpb.CONTINUATION_NEVER,
}


CHAT_CONTEXT = "Answer from this context:\n\n"
"""Stands before what a request of `/chat` has retrieved."""

DOCUMENT_BEGIN, DOCUMENT_END = "<document>", "</document>"
"""Around the text of a document of Anthropic's contract, for targets that have no word for one."""

# JSON can be read deeper than it can be written, and the router wraps the body in some more levels.
_SPARE_LEVELS = 10
# A body with no more objects and lists than this has no more levels either.
_ANY_LEVELS = 200


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What the limit on prompts goes by."""

    tokens: int
    """By estimate."""
    what: str
    """What is that long, as vendors call it when they refuse it."""
    param: str
    """The field of the body that it is from."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of what a request has, whatever its length."""

    messages: int = 1
    tools: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """A request of Anthropic's Messages API as its client sent it: for targets that speak this contract themselves."""

    body: bytes
    """The JSON of the client, byte for byte."""
    beta: str
    """The client's `anthropic-beta` header; empty: it sent none."""
    untranslatable: tuple[str, ...]
    """The fields that the chat body cannot say and that would change the answer, by the client's names."""
    version: str = ""
    """The client's `anthropic-version` header; empty: it sent none."""
    dropped: tuple[str, ...] = ()
    """The fields that the chat body leaves out and that do not change the answer, by the client's names."""

    def digest_of(self, native: dict[str, Any]) -> bytes:
        """Return the digest of this form, whose body is `native`; see `digest_of`."""
        return digest_of(native, "messages", self.beta, self.version)


@dataclass(frozen=True, slots=True)
class ToolName:
    """What the client of the Responses API calls a function of the chat body."""

    name: str
    namespace: str = ""
    is_custom: bool = False
    """Whether its input is any text."""


# As many as the router names of what a target was not told.
_MAX_NOTED = 50


@dataclass(frozen=True, slots=True)
class ResponsesForm:
    """What a request of OpenAI's Responses API has beside its translation: for the response, and for later requests."""

    echo: bytes
    """The fields of the request that the response repeats, as a JSON object."""
    input: bytes
    """Its own input items as a JSON list."""
    names: Mapping[str, ToolName]
    """What the client calls a function of the chat body, where that is something else."""
    dropped: tuple[str, ...]
    """What is left out because it has no effect on the answer, by the client's names."""
    may_store: bool
    """Whether the client lets the response be kept."""
    needs: tuple[str, ...]
    """The responses that it goes on from or refers to, by their ids; empty once they are part of the request."""
    previous: str = ""
    """The response that it goes on from; empty: none."""
    chain: tuple[str, ...] = ()
    """All responses that come before it, the first one first."""

    @property
    def noted(self) -> Sequence[str]:
        """What receipts say of `dropped`: the first 50, and how many more there are."""
        more = len(self.dropped) - _MAX_NOTED
        return self.dropped if more <= 0 else (*self.dropped[:_MAX_NOTED], f"{more} more")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request for an answer, turned into an OpenAI chat body."""

    endpoint: str
    """The path it came in by."""
    requested_model: str | None
    """None: the client leaves the choice to the gateway."""
    encoded_body: bytes
    """The chat body as the router gets it: JSON without `model`, `stream` and `stream_options`; see `encode_body`."""
    digest: bytes
    """Of everything in the request that can change the answer; see `digest_of`."""
    estimated_input_tokens: int
    is_streaming: bool
    choices: int = 1
    """How many answers are asked for."""
    include_usage: bool = True
    """Whether the stream ends with the usage (OpenAI's contract asks)."""
    continuation: routerpb.Continuation.ValueType = routerpb.CONTINUATION_UNSPECIFIED
    """Whether another target may carry on an answer that broke off."""
    messages_form: MessagesForm | None = None
    """The native form of a request to `/v1/messages`; `encoded_body` is then its translation."""
    responses_form: ResponsesForm | None = None
    """Of a request to `/v1/responses`."""
    counts: Counts = Counts()
    max_output_tokens: int | None = None
    """How long the client lets an answer be; None: it does not say."""
    is_drawn: bool = False
    """Whether the answer is to be drawn by chance: a temperature above 0, and no `seed` that fixes the draw."""

    @property
    def longest(self) -> PromptSize:
        """The size that the limit on prompts goes by."""
        return PromptSize(self.estimated_input_tokens, "prompt", "messages")


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


def digest_of(fields: dict[str, Any], *beside: str) -> bytes:
    """Return the SHA-256 of all `fields` that can change an answer, and of what stands `beside` them.

    The encoding is canonical: keys sorted, absent fields absent, so `temperature` unset is not `temperature` 0. The
    client's word for the model is left out: the key of an answer has the route that it leads to.
    """
    left_out = WITHOUT_EFFECT | {"model"}
    relevant = {name: value for name, value in fields.items() if name not in left_out and value is not None}
    return hashlib.sha256(orjson.dumps([relevant, *beside], option=orjson.OPT_SORT_KEYS)).digest()


def encode_body(body: dict[str, Any]) -> bytes:
    """Write a body as JSON, once for its whole way; Problem (400) when it is nested too deeply to travel on."""
    try:
        encoded = orjson.dumps(body)
        if encoded.count(b"{") + encoded.count(b"[") > _ANY_LEVELS:
            nested: Any = body
            for _ in range(_SPARE_LEVELS):
                nested = [nested]
            orjson.dumps(nested)
    except TypeError as error:
        raise Problem("invalid_request", "the body is nested too deeply") from error
    return encoded


# Anthropic's least budget of thinking.
_MIN_THINKING_TOKENS = 1024


def max_output_of(body: dict[str, Any]) -> int | None:
    """Return how long the answers to a chat body may be; None: it does not say."""
    given = [body[name] for name in _MAX_OUTPUT if isinstance(body.get(name), int)]
    return max(given, default=None)


def with_max_output(conversation: Conversation, tokens: int) -> Conversation:
    """Return the request with an answer of at most `tokens`, whatever it has asked for.

    Problem (400) when it wants to think for longer than that. Takes time in proportion to its length.
    """
    body = orjson.loads(conversation.encoded_body)
    given = [name for name in _MAX_OUTPUT if body.get(name) is not None] or _MAX_OUTPUT[:1]
    body |= {name: min(body.get(name, tokens), tokens) for name in given}
    form = conversation.messages_form
    if form is None:
        digest = digest_of(body)
    else:
        native = orjson.loads(form.body)
        native["max_tokens"] = tokens
        _shorten_thinking(native, tokens)
        form, digest = replace(form, body=encode_body(native)), form.digest_of(native)
    return replace(
        conversation, encoded_body=encode_body(body), digest=digest, messages_form=form, max_output_tokens=tokens
    )


def _shorten_thinking(native: dict[str, Any], max_tokens: int) -> None:
    """Leave half of the answer to a budget that no longer fits into it: Anthropic refuses one that does not."""
    thinking = native.get("thinking")
    if not isinstance(thinking, dict):
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < max_tokens:
        return
    if max_tokens // 2 < _MIN_THINKING_TOKENS:
        raise Problem(
            "invalid_request",
            f"thinking.budget_tokens: answers have at most {max_tokens} tokens here, which is too few to think",
            param="thinking.budget_tokens",
        )
    native["thinking"] = {**thinking, "budget_tokens": max_tokens // 2}
