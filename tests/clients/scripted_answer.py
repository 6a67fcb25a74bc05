"""What the recorder answers, on either wire: a text, or a call of a tool, after a thought where one is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

Json = dict[str, Any]

_OPENAI_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
_ANTHROPIC_USAGE = {"input_tokens": 20, "output_tokens": 5}


@dataclass(frozen=True)
class ScriptedAnswer:
    """One answer; with `tool` it is a call of that tool."""

    text: str = "It is sunny."
    tool: str = ""
    arguments: bytes = b"{}"
    """JSON."""
    thought: str = ""

    def chat_completion(self, model: str) -> Json:
        """Return it as a whole answer of `POST /v1/chat/completions`."""
        message: Json = {"role": "assistant", "content": None if self.tool else self.text, "refusal": None}
        if self.thought:
            message["reasoning_content"] = self.thought
        if self.tool:
            message["tool_calls"] = [self._call()]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        return {**_head(model, "chat.completion"), "choices": [choice], "usage": _OPENAI_USAGE}

    def chat_chunks(self, model: str) -> Iterator[bytes]:
        """Yield it as the events of a stream of `POST /v1/chat/completions`."""
        deltas: list[Json] = [{"role": "assistant", "content": None if self.tool else ""}]
        if self.thought:
            deltas.append({"reasoning_content": self.thought})
        deltas.append({"tool_calls": [{"index": 0, **self._call()}]} if self.tool else {"content": self.text})
        head = _head(model, "chat.completion.chunk")
        for delta in deltas:
            yield _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield _data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": self._finish()}]})
        yield _data({**head, "choices": [], "usage": _OPENAI_USAGE})
        yield b"data: [DONE]\n\n"

    def message(self, model: str) -> Json:
        """Return it as a whole answer of `POST /v1/messages`."""
        return {
            **_message_head(model),
            "content": self._blocks(),
            "stop_reason": self._stop(),
            "usage": _ANTHROPIC_USAGE,
        }

    def message_events(self, model: str) -> Iterator[bytes]:
        """Yield it as the events of a stream of `POST /v1/messages`."""
        yield _event({"type": "message_start", "message": {**_message_head(model), "usage": _ANTHROPIC_USAGE}})
        for index, block in enumerate(self._blocks()):
            empty, deltas = _in_pieces(block)
            yield _event({"type": "content_block_start", "index": index, "content_block": empty})
            for delta in deltas:
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": self._stop(), "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}})
        yield _event({"type": "message_stop"})

    def _call(self) -> Json:
        function = {"name": self.tool, "arguments": self.arguments.decode()}
        return {"id": "call_0123456789abcdefghijklmn", "type": "function", "function": function}

    def _blocks(self) -> list[Json]:
        thought = {"type": "thinking", "thinking": self.thought, "signature": "c2lnbmVk"}
        call = {
            "type": "tool_use",
            "id": "toolu_0123456789abcdefghijklmn",
            "name": self.tool,
            "input": orjson.loads(self.arguments),
        }
        last = call if self.tool else {"type": "text", "text": self.text}
        return [thought, last] if self.thought else [last]

    def _finish(self) -> str:
        return "tool_calls" if self.tool else "stop"

    def _stop(self) -> str:
        return "tool_use" if self.tool else "end_turn"


def _head(model: str, kind: str) -> Json:
    return {"id": "chatcmpl-recorded", "object": kind, "created": 1_800_000_000, "model": model}


def _message_head(model: str) -> Json:
    return {
        "id": "msg_recorded",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _in_pieces(block: Json) -> tuple[Json, list[Json]]:
    """Return a block as it starts, and what is added to it."""
    if block["type"] == "tool_use":
        arguments = orjson.dumps(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": arguments}]
    if block["type"] == "thinking":
        return {**block, "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]


def _data(body: Json) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(body)


def _event(body: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), orjson.dumps(body))
