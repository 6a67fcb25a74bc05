"""The contract of `/chat`: one question, an answer as named events with a receipt at the end."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge.assembly import assemble
from edge.contracts.receipt_json import attempt_object, finish_reason_name, money, seam_object, usage_object
from edge.conversation import CONTINUATIONS, ContinuationWish, Conversation
from edge.exchange.exchange import Exchange, Receipt
from edge.http.responses import frame
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

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
        str | list[str] | None, Field(description="What to answer from: one text, or several in order.")
    ] = None
    model: Annotated[str | None, Field(min_length=1, description="A name from `GET /v1/models`.")] = None
    max_tokens: Annotated[int | None, Field(ge=1, description="Longest answer, in tokens.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="0 for the likeliest answer.")] = None
    tools: Annotated[list[Json] | None, Field(description="Tools in OpenAI's shape.")] = None
    continuation: Annotated[
        ContinuationWish | None,
        Field(
            description="Whether another model may carry on an answer that broke off; unset: as the model's route says."
        ),
    ] = None
    stream: Annotated[bool, Field(description="false: the same content as one JSON object.")] = True

    def to_conversation(self, endpoint: str, default_model: str) -> Conversation:
        """Turn the question into a chat body."""
        optional = {"max_completion_tokens": self.max_tokens, "temperature": self.temperature, "tools": self.tools}
        given = {name: value for name, value in optional.items() if value is not None}
        return Conversation(
            endpoint=endpoint,
            requested_model=self.model or default_model,
            body={"messages": self._messages(), **given},
            is_streaming=self.stream,
            continuation=CONTINUATIONS[self.continuation],
        )

    def _messages(self) -> list[Json]:
        system = [self.system_prompt] if self.system_prompt else []
        if self.retrieved_context:
            texts = [self.retrieved_context] if isinstance(self.retrieved_context, str) else self.retrieved_context
            system.append("Answer from this context:\n\n" + "\n\n".join(texts))
        messages: list[Json] = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        return [*messages, {"role": "user", "content": self.query}]


class ChatFrames:
    """Writes the events of one exchange; each has an id."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._request_id = exchange.facts.request_id
        self._count = 0

    def head(self) -> bytes:
        """Return the `start` event."""
        return self._frame(
            "start",
            {
                "request_id": self._request_id,
                "model": self._exchange.facts.requested_model,
                "cache": _cache_name(self._exchange),
            },
        )

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return a `delta` event for each text; what else there is comes whole, before the end."""
        return b"".join(self._frame("delta", {"text": text}) for text in _texts(chunks))

    def seam(self, continued: routerpb.Continued) -> bytes:
        """Return `continued`: what follows was written by another model."""
        return self._frame("continued", seam_object(continued))

    def end(self, receipt: Receipt) -> bytes:
        """Return the `tool_call` events and `done`, or `error`."""
        if receipt.problem is not None:
            return self._frame("error", receipt.problem.body())
        calls = b"".join(self._frame("tool_call", call) for call in _tool_calls(receipt))
        return calls + self._frame("done", done_object(self._exchange, receipt))

    def _frame(self, event: str, data: Any) -> bytes:
        self._count += 1
        return frame(event, f"{self._request_id}:{self._count}", data)


class ChatAnswers:
    """Writes the same content in one piece."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def whole(self, receipt: Receipt) -> Json:
        """Return the answer and its receipt."""
        return {
            "request_id": self._exchange.facts.request_id,
            "text": "".join(_texts(receipt.answer.chunks)),
            "tool_calls": _tool_calls(receipt),
            **done_object(self._exchange, receipt),
        }


def done_object(exchange: Exchange, receipt: Receipt) -> Json:
    """Return what `done` tells of a good answer."""
    answer = receipt.answer
    return {
        "finish_reason": finish_reason_name(answer.finish_reasons[0]),
        "model": answer.response_model or answer.target_model,
        "provider": answer.provider,
        "usage": usage_object(answer.usage),
        "cost_usd": money(receipt.cost_usd),
        "attempts": [
            attempt_object(attempt, money(cost)) for attempt, cost in zip(receipt.attempts, receipt.costs, strict=False)
        ],
        "seams": [seam_object(continued) for continued in receipt.seams],
        "cache": {
            "status": _cache_name(exchange),
            "bypass_reason": exchange.bypass_reason or None,
            "stored": receipt.stored,
            "saved_cost_usd": money(receipt.saved_cost_usd),
        },
    }


def _cache_name(exchange: Exchange) -> str:
    return ledgerpb.CacheStatus.Name(exchange.cache_status).removeprefix("CACHE_STATUS_").lower()


def _texts(chunks: list[str | bytes]) -> list[str]:
    """Return the texts a reader of choice 0 is to see: its words, or why it has none."""
    texts = []
    for chunk in chunks:
        if isinstance(chunk, str):
            texts.append(chunk)
        else:
            message = assemble([chunk], 1)[0]["message"]
            texts += [text for text in (message["content"], message["refusal"]) if text]
    return texts


def _tool_calls(receipt: Receipt) -> list[Json]:
    calls = assemble(receipt.answer.chunks, 1)[0]["message"].get("tool_calls") or []
    return [{"index": index, "id": call["id"], **call["function"]} for index, call in enumerate(calls)]
