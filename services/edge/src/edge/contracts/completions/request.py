"""What a client sends to `/v1/chat/completions`: OpenAI's contract, to the letter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.contracts.counts import counts_of
from edge.contracts.validation import Items
from edge.conversation import (
    CONTINUATIONS,
    ContinuationOption,
    Conversation,
    digest_of,
    encode_body,
    max_output_of,
)
from edge.problems import Problem
from pricing.estimate import estimate_prompt_tokens

Json = dict[str, Any]


class Message(BaseModel):
    """One turn of the conversation; fields not named here pass through."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Items[Json] | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="allow", strict=True)

    include_usage: bool | None = None


class CompletionRequest(BaseModel):
    """Body of `POST /v1/chat/completions`; fields not named here pass through to the provider."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "default",
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            ]
        },
    )

    model: Annotated[str, Field(min_length=1, description="A name from `GET /v1/models`.")]
    messages: Annotated[Items[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: Annotated[StreamOptions | None, Field(description="Only with `stream: true`.")] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    n: Annotated[int | None, Field(ge=1, le=16)] = None
    stop: str | Items[str] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    response_format: Json | None = None
    tools: Items[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    metadata: Json | None = None
    store: bool | None = None
    continuation: Annotated[
        ContinuationOption | None,
        Field(description="Not OpenAI's: whether another model may carry on an answer that broke off."),
    ] = None

    def to_conversation(self, endpoint: str, raw: Json) -> Conversation:
        """Turn the body into a conversation; `raw` is the body as it came, and passes through unharmed."""
        if self.stream_options is not None and not self.stream:
            raise Problem("invalid_request", "stream_options is only allowed with stream: true", param="stream_options")
        own = {"model", "stream", "stream_options", "continuation"}
        body = {name: value for name, value in raw.items() if name not in own and value is not None}
        return Conversation(
            endpoint=endpoint,
            requested_model=self.model,
            encoded_body=encode_body(body),
            digest=digest_of(body),
            estimated_input_tokens=estimate_prompt_tokens(body),
            is_streaming=bool(self.stream),
            choices=self.n or 1,
            include_usage=bool(self.stream_options and self.stream_options.include_usage),
            continuation=CONTINUATIONS[self.continuation],
            counts=counts_of(body),
            max_output_tokens=max_output_of(body),
            is_drawn=bool(self.temperature) and self.seed is None,
        )
