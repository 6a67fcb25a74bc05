"""The contract of `/v1/messages`: the Anthropic Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from edge.answer import Answer
from edge.assembly import MalformedChunk
from edge.contracts.counts import counts_of
from edge.contracts.messages.blocks import MessageBlocks, joined_blocks
from edge.contracts.messages.extra_work import refuse_extra_work
from edge.contracts.messages.threads import refuse_thread
from edge.contracts.messages.translation.body import translate
from edge.contracts.validation import Items
from edge.conversation import CONTINUATIONS, ContinuationOption, Conversation, MessagesForm, encode_body
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.problems import Problem
from edge.receipt_json import continuation_comment
from pricing.estimate import estimate_prompt_tokens
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

# How the Anthropic Messages API calls the same statuses.
_ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_STOP_REASONS = {
    routerpb.FINISH_REASON_STOP: "end_turn",
    routerpb.FINISH_REASON_LENGTH: "max_tokens",
    routerpb.FINISH_REASON_CONTENT_FILTER: "refusal",
    routerpb.FINISH_REASON_TOOL_CALL: "tool_use",
}


class Turn(BaseModel):
    """One turn of the conversation."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["user", "assistant", "system"]
    content: str | Items[Json]


class MessagesRequest(BaseModel):
    """Body of `POST /v1/messages`; fields not named here reach targets on Anthropic's wire as they came."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "default",
                    "max_tokens": 100,
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    "stream": True,
                }
            ]
        },
    )

    model: Annotated[str, Field(min_length=1, description="A name from `GET /v1/models`.")]
    messages: Annotated[Items[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0, description="Longest answer, in tokens.")]
    system: str | Items[Json] | None = None
    stream: bool | None = None
    stop_sequences: Items[str] | None = None
    temperature: Annotated[float | None, Field(ge=0, le=1)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0)] = None
    tools: Items[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None
    output_config: Json | None = None
    metadata: Json | None = None
    continuation: Annotated[
        ContinuationOption | None,
        Field(description="Not Anthropic's: whether another model may carry on an answer that broke off."),
    ] = None

    def to_conversation(
        self, endpoint: str, raw: Json, encoded: bytes, *, beta: str = "", version: str = ""
    ) -> Conversation:
        """Turn the body into a conversation, translated and in its native form.

        `raw` is the parsed body, `encoded` its JSON, `beta` and `version` the headers `anthropic-beta` and
        `anthropic-version`. Problem (400) names a malformed block.
        """
        if "continuation" in raw:  # ours: Anthropic would refuse it
            raw = {name: value for name, value in raw.items() if name != "continuation"}
            encoded = encode_body(raw)
        else:
            encode_body(raw)  # refuses what can be read and not be written: the router writes the native form anew
        refuse_thread(raw)
        refuse_extra_work(raw)
        translation = translate(raw)
        form = MessagesForm(encoded, beta, translation.untranslatable, version, translation.dropped)
        return Conversation(
            endpoint=endpoint,
            requested_model=self.model,
            encoded_body=encode_body(translation.body),
            digest=form.digest_of(raw),
            estimated_input_tokens=estimate_prompt_tokens(raw),
            is_streaming=bool(self.stream),
            continuation=CONTINUATIONS[self.continuation],
            messages_form=form,
            counts=counts_of(raw),
            max_output_tokens=self.max_tokens,
            is_drawn=bool(self.temperature),
        )


class MessagesFrames:
    """Writes the events of one message."""

    # As Anthropic sends it. Claude Code, which ends a stream after five minutes of silence, asks gateways for it
    # (code.claude.com/docs/en/llm-gateway-protocol).
    keep_alive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._blocks = MessageBlocks()
        self._is_open = False

    def head(self) -> bytes:
        """Return nothing: the status waits for the first content."""
        return b""

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return the events of these chunks; before the first ones, `message_start`."""
        events = self._blocks.take(chunks)  # what belongs into the first event comes with the first content
        return self._start() + b"".join(map(_frame, events))

    def continued(self, continued: routerpb.Continued) -> bytes:
        """Return a comment."""
        return continuation_comment(continued)

    def end(self, receipt: Receipt) -> bytes:
        """Return `message_delta` with the usage and `message_stop`; or the error and nothing else."""
        if receipt.problem is not None:
            return _frame(error_object(receipt.problem, self._exchange.facts.request_id))
        events = self._blocks.close()
        usage = {**self._blocks.usage, **_usage(receipt.answer.usage)}
        delta = {"type": "message_delta", "delta": _stop(receipt, self._blocks), "usage": usage}
        return self._start() + b"".join(map(_frame, [*events, delta, {"type": "message_stop"}]))

    def _start(self) -> bytes:
        if self._is_open:
            return b""
        self._is_open = True
        answer = self._exchange.answer
        stop = {"stop_reason": None, "stop_sequence": None}
        message = _message(self._exchange, self._blocks, [], stop, answer.usage)
        return _frame({"type": "message_start", "message": message})


def whole_object(exchange: Exchange, receipt: Receipt) -> Json:
    """Return a `message` object; Problem when the chunks do not form one."""
    blocks = MessageBlocks()
    try:
        content = joined_blocks([*blocks.take(receipt.answer.chunks), *blocks.close()])
    except MalformedChunk as error:
        raise Problem("stream_interrupted", "a chunk of the provider could not be read") from error
    return _message(exchange, blocks, content, _stop(receipt, blocks), receipt.answer.usage)


def check_answer(answer: Answer) -> None:
    """Raise MalformedChunk when there is no writing the answer."""
    blocks = MessageBlocks()
    content = joined_blocks([*blocks.take(answer.chunks), *blocks.close()])
    try:
        orjson.dumps([content, blocks.message, blocks.usage, blocks.stop])
    except TypeError as error:
        raise MalformedChunk("the answer has no JSON") from error


def error_object(problem: Problem, request_id: str) -> Json:
    """Write an error in the shape of the Messages API; our code is its `error_code`."""
    kind = _ERROR_TYPES.get(problem.kind.status, "invalid_request_error")
    error = {"type": kind, "message": problem.message, "details": {"error_code": problem.client_code}}
    return {"type": "error", "error": error, "request_id": request_id}


def _message(exchange: Exchange, blocks: MessageBlocks, content: list[Json], stop: Json, usage: Usage | None) -> Json:
    answer = exchange.answer
    return {
        **blocks.message,
        "id": "msg_" + exchange.facts.request_id,
        "type": "message",
        "role": "assistant",
        "model": answer.response_model or answer.target_model,
        "content": content,
        **stop,
        "usage": {**blocks.usage, **_usage(usage)},
    }


def _stop(receipt: Receipt, blocks: MessageBlocks) -> Json:
    """Return why the answer ended; the provider's own `message_delta` says more than an OpenAI chunk can."""
    if blocks.stop is not None:
        return blocks.stop
    reason = _STOP_REASONS[receipt.answer.finish_reasons[0]]
    if blocks.is_refusal:
        return {"stop_reason": "refusal", "stop_sequence": None}
    if blocks.stop_sequence is not None and reason == "end_turn":
        return {"stop_reason": "stop_sequence", "stop_sequence": blocks.stop_sequence}
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(usage: Usage | None) -> Json:
    """Write token counts as Anthropic does, cache reads and writes beside the input; 0 while they are unknown."""
    usage = usage or Usage()
    read, written = usage.provider_cache_read_input_tokens, usage.provider_cache_write_input_tokens
    document: Json = {
        "input_tokens": max((usage.input_tokens or 0) - (read or 0) - (written or 0), 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
    }
    if usage.reasoning_output_tokens is not None:
        document["output_tokens_details"] = {"thinking_tokens": usage.reasoning_output_tokens}
    return document


def _frame(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
