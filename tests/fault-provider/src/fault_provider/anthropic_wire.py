"""The Anthropic messages wire: an answer as frames or as one body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, chunk_texts, tool_fragments, usage_for
from fault_provider.plan import Plan
from fault_provider.script import script_of

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
    "abort": "abort",
}


class AnthropicAnswer:
    """One answer to one request body; every method returns bytes ready for the stream."""

    choices = 1

    def __init__(self, plan: Plan, body: dict[str, Any], index: int) -> None:
        self._plan = plan
        self._body = body
        self._index = index
        self._reports_usage = plan.behaviour != "no-usage"
        self._message: dict[str, Any] = {
            "id": f"msg_fault{index}",
            "type": "message",
            "role": "assistant",
            "model": plan.answered_model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        self._block_open = False

    def script(self) -> bytes:
        """Return the frames that the request asks for."""
        return b"".join(map(_event, script_of(self._body)))

    def opening(self) -> bytes:
        """Return message_start, which carries the input's usage, and a ping: no content yet."""
        message = dict(self._message)
        if self._reports_usage:
            message["usage"] = {**usage_for(self._plan, "anthropic", 0), "output_tokens": 1}
        return _event({"type": "message_start", "message": message}) + self.ping()

    def contents(self, count: int) -> Iterator[bytes]:
        """Yield `count` frames of text, the first together with the start of its block."""
        for text in chunk_texts(self._plan, count):
            yield self._open_block({"type": "text", "text": ""}) + (
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
                b'"delta":{"type":"text_delta","text":%b}}\n\n' % orjson.dumps(text)
            )

    def tool_call(self) -> Iterator[bytes]:
        """Yield the frames of one tool call: its name first, then its input in pieces of JSON."""
        yield self._open_block(self._tool({}))
        for fragment in tool_fragments():
            delta = {"type": "input_json_delta", "partial_json": fragment}
            yield _event({"type": "content_block_delta", "index": 0, "delta": delta})

    def finish(self, reason: str, generated_tokens: int) -> bytes:
        """Return the end of the block and message_delta with the stop reason and the output tokens so far."""
        event: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": _STOP_REASONS[reason], "stop_sequence": None},
        }
        if self._reports_usage:
            event["usage"] = {"output_tokens": generated_tokens + self._plan.reasoning}
        block_stop = _event({"type": "content_block_stop", "index": 0}) if self._block_open else b""
        return block_stop + _event(event)

    def end(self) -> bytes:
        """Return message_stop."""
        return _event({"type": "message_stop"})

    def ping(self) -> bytes:
        """Return a ping event."""
        return _event({"type": "ping"})

    def malformed(self) -> bytes:
        """Return a data frame that is not JSON."""
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"te\n\n'

    def error(self, body: dict[str, Any]) -> bytes:
        """Return an error in the middle of a stream."""
        return _event(body)

    def whole(self, reason: str | None, count: int, generated_tokens: int) -> dict[str, Any]:
        """Return the answer with `count` chunks of text as one body."""
        content: list[dict[str, Any]] = [{"type": "text", "text": "".join(chunk_texts(self._plan, count))}]
        if self._plan.behaviour == "tool-call":
            content = [self._tool(orjson.loads(TOOL_ARGUMENTS))]
        if self._plan.behaviour == "empty":
            content = []
        answer = {**self._message, "content": content, "stop_reason": _STOP_REASONS[reason] if reason else None}
        if self._reports_usage:
            answer["usage"] = usage_for(self._plan, "anthropic", generated_tokens)
        return answer

    def _open_block(self, block: dict[str, Any]) -> bytes:
        if self._block_open:
            return b""
        self._block_open = True
        return _event({"type": "content_block_start", "index": 0, "content_block": block})

    def _tool(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_fault{self._index}", "name": TOOL_NAME, "input": arguments}


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))
