"""What a client sends to `/chat`: one question, and what to answer it from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge.contracts.counts import counts_of
from edge.contracts.validation import Items
from edge.conversation import CHAT_CONTEXT, CONTINUATIONS, ContinuationOption, Conversation, digest_of, encode_body
from pricing.estimate import estimate_prompt_tokens

Json = dict[str, Any]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class ChatRequest(BaseModel):
    """Body of `POST /chat`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"query": "What is the capital of France?"},
                {
                    "query": "When does the pool open?",
                    "system_prompt": "Answer in one sentence.",
                    "retrieved_context": ["The pool opens at 9 on weekdays.", "It is closed on Mondays."],
                    "model": "default",
                    "max_tokens": 60,
                    "temperature": 0,
                },
            ]
        },
    )

    query: Annotated[str, AfterValidator(_not_blank), Field(min_length=1, description="The question.")]
    system_prompt: Annotated[str | None, Field(description="How to answer.")] = None
    retrieved_context: Annotated[
        str | Items[str] | None, Field(description="What to answer from: one text, or several in order.")
    ] = None
    model: Annotated[str | None, Field(min_length=1, description="A name from `GET /v1/models`.")] = None
    max_tokens: Annotated[int | None, Field(ge=1, description="Longest answer, in tokens.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="0 for the likeliest answer.")] = None
    tools: Annotated[Items[Json] | None, Field(description="Tools in OpenAI's shape.")] = None
    continuation: Annotated[
        ContinuationOption | None,
        Field(
            description="Whether another model may carry on an answer that broke off; unset: as the model's route says."
        ),
    ] = None
    stream: Annotated[bool, Field(description="false: the same content as one JSON object.")] = True

    def to_conversation(self, endpoint: str) -> Conversation:
        """Turn the question into a chat body."""
        optional = {"max_completion_tokens": self.max_tokens, "temperature": self.temperature, "tools": self.tools}
        given = {name: value for name, value in optional.items() if value is not None}
        body = {"messages": self._messages(), **given}
        return Conversation(
            endpoint=endpoint,
            requested_model=self.model,
            encoded_body=encode_body(body),
            digest=digest_of(body),
            estimated_input_tokens=estimate_prompt_tokens(body),
            is_streaming=self.stream,
            continuation=CONTINUATIONS[self.continuation],
            counts=counts_of(body),
            max_output_tokens=self.max_tokens,
            is_drawn=bool(self.temperature),
        )

    def _messages(self) -> list[Json]:
        system = [self.system_prompt] if self.system_prompt else []
        if self.retrieved_context:
            texts = [self.retrieved_context] if isinstance(self.retrieved_context, str) else self.retrieved_context
            system.append(CHAT_CONTEXT + "\n\n".join(texts))
        messages: list[Json] = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        return [*messages, {"role": "user", "content": self.query}]
