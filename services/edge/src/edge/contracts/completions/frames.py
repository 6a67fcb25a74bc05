"""What `/v1/chat/completions` answers: OpenAI's contract, to the letter."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from edge.answer import Answer
from edge.assembly import MalformedChunk, MessagesEvent
from edge.conversation import Conversation
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.receipt_json import continuation_comment
from edge.sse import KEEP_ALIVE
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

_FINISH_REASONS = {
    routerpb.FINISH_REASON_STOP: "stop",
    routerpb.FINISH_REASON_LENGTH: "length",
    routerpb.FINISH_REASON_CONTENT_FILTER: "content_filter",
    routerpb.FINISH_REASON_TOOL_CALL: "tool_calls",
}


class CompletionFrames:
    """Writes `chat.completion.chunk` events."""

    keep_alive = KEEP_ALIVE

    def __init__(self, exchange: Exchange) -> None:
        conversation = exchange.content
        assert isinstance(conversation, Conversation)  # noqa: S101 - what the contract has read
        self._exchange = exchange
        self._choice_count = conversation.choices
        self._id = completion_id(exchange)
        self._created = int(time.time())
        self._usage = b',"usage":null' if conversation.include_usage else b""
        self._before = b""
        self._after = b""

    def head(self) -> bytes:
        """Return nothing: the status waits for the first content."""
        return b""

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return a chunk for each chunk; before the first one, the role of each choice."""
        frames = []
        if not self._before:
            self._open(self._exchange.answer.target_model)
            frames += [self._chunk(self._role(index)) for index in range(self._choice_count)]
        for chunk in chunks:
            if isinstance(chunk, str):
                text = b'[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":null}]'
                frames.append(self._chunk(text % orjson.dumps(chunk)))
            else:
                frames.append(self._chunk(chunk))
        return b"".join(frames)

    def continued(self, continued: routerpb.Continued) -> bytes:
        """Return a comment; the chunks that follow name the model that has written them."""
        if self._before:
            self._open(continued.target_model)
        return continuation_comment(continued)

    def end(self, receipt: Receipt) -> bytes:
        """Return the finish chunks, the usage if requested, and `[DONE]`; or the error and nothing else."""
        if receipt.problem is not None:
            return b"data: %b\n\n" % orjson.dumps(receipt.problem.body())
        frames = [] if self._before else [self.content([])]
        if receipt.answer.system_fingerprint or receipt.answer.response_fields:
            self._open(receipt.answer.target_model, receipt.answer.response_fields)
        for index, reason in enumerate(finish_reasons(receipt.answer)):
            choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}
            frames.append(self._chunk(orjson.dumps([choice])))
        if self._usage:
            usage = orjson.dumps(usage_object(receipt.answer.usage))
            frames.append(self._before + b"[]" + b',"usage":%b}\n\n' % usage)
        return b"".join(frames) + b"data: [DONE]\n\n"

    def _open(self, model: str, fields: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Prepare what each chunk has around its choices; fingerprint and other `fields` are known at the end."""
        answer = self._exchange.answer
        fingerprint = {"system_fingerprint": answer.system_fingerprint} if answer.system_fingerprint else {}
        head = orjson.dumps(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": model,
                **fingerprint,
                **fields,
            }
        )
        self._before = b"data: " + head[:-1] + b',"choices":'
        self._after = self._usage + b"}\n\n"

    def _chunk(self, choices: bytes) -> bytes:
        return self._before + choices + self._after

    def _role(self, index: int) -> bytes:
        delta = {"role": "assistant", "content": "", "refusal": None}
        return orjson.dumps([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])


def whole_object(exchange: Exchange, receipt: Receipt) -> Json:
    """Return a `chat.completion` object."""
    answer = receipt.answer
    completion: Json = {
        "id": completion_id(exchange),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.response_model or answer.target_model,
        "choices": [
            {"index": index, **choice, "finish_reason": reason}
            for index, (choice, reason) in enumerate(zip(answer.choices(), finish_reasons(answer), strict=True))
        ],
        "usage": usage_object(answer.usage),
    }
    completion |= answer.response_fields
    if answer.system_fingerprint:
        completion["system_fingerprint"] = answer.system_fingerprint
    return completion


def check_answer(answer: Answer) -> None:
    """Raise MalformedChunk when there is no writing the answer, whole or as it was kept."""
    choices = answer.choices()
    try:
        for chunk in answer.chunks:
            if isinstance(chunk, bytes) and not _is_choices(chunk):
                raise MalformedChunk("a chunk has no delta")
        orjson.dumps([choices, finish_reasons(answer)])
    except (TypeError, LookupError) as error:
        raise MalformedChunk("the answer has no JSON") from error


def _is_choices(chunk: bytes) -> bool:
    if isinstance(chunk, MessagesEvent):
        return False
    return all(isinstance(choice["delta"], dict) for choice in orjson.loads(chunk))


def completion_id(exchange: Exchange) -> str:
    """Return the completion's id: the request id in OpenAI's manner."""
    return "chatcmpl-" + exchange.facts.request_id


def finish_reasons(answer: Answer) -> list[str]:
    """Return why each choice ended, in OpenAI's words, which has one of its own for calls without tools."""
    reasons = [_FINISH_REASONS[reason] for reason in answer.finish_reasons]
    if "tool_calls" not in reasons:
        return reasons
    messages = [choice["message"] for choice in answer.choices()]
    return [
        "function_call" if reason == "tool_calls" and "function_call" in message else reason
        for reason, message in zip(reasons, messages, strict=True)
    ]


def usage_object(usage: Usage | None) -> Json | None:
    """Write token counts under OpenAI's names; details that are unknown are left out."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    document: Json = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    details = {
        "prompt_tokens_details": {
            "cached_tokens": usage.provider_cache_read_input_tokens,
            "cache_write_tokens": usage.provider_cache_write_input_tokens,
            "audio_tokens": usage.audio_input_tokens,
            "image_tokens": usage.image_input_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_output_tokens,
            "audio_tokens": usage.audio_output_tokens,
            "image_tokens": usage.image_output_tokens,
        },
    }
    for name, counts in details.items():
        if known := {part: count for part, count in counts.items() if count is not None}:
            document[name] = known
    return document
