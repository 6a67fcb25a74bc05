"""The OpenAI chat completions wire: an answer as frames or as one body."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, chunk_texts, tool_fragments, usage_for
from fault_provider.plan import Plan
from fault_provider.script import script_of


class OpenAiAnswer:
    """One answer to one request body; every method returns bytes ready for the stream."""

    def __init__(self, plan: Plan, body: dict[str, Any], index: int) -> None:
        self._plan = plan
        self._body = body
        self._choices = body.get("n") or 1
        self._wants_logprobs = bool(body.get("logprobs"))
        self._top_logprobs = body.get("top_logprobs") or 0
        self._reports_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._reports_usage &= plan.behaviour != "no-usage"
        self._constant = {"id": f"chatcmpl-fault{index}", "created": int(time.time()), "model": plan.answered_model}
        # What every chunk starts with is encoded once; only the text differs.
        usage = b',"usage":null' if self._reports_usage else b""
        head = orjson.dumps({**self._constant, "object": "chat.completion.chunk"})[:-1]
        self._head = b"data: " + head + usage + b',"choices":['

    @property
    def choices(self) -> int:
        """How many answers were asked for (`n`)."""
        return int(self._choices)

    def script(self) -> bytes:
        """Return the frames that the request asks for."""
        frames = [b"[DONE]" if frame == "[DONE]" else orjson.dumps(frame) for frame in script_of(self._body)]
        return b"".join(b"data: %b\n\n" % frame for frame in frames)

    def opening(self) -> bytes:
        """Return the role chunks, which are no content."""
        delta = {"role": "assistant", "content": None if self._plan.behaviour == "tool-call" else "", "refusal": None}
        return b"".join(self._chunk(number, delta) for number in range(self.choices))

    def contents(self, count: int) -> Iterator[bytes]:
        """Yield `count` frames of text; with several choices a frame holds one chunk of each."""
        for text in chunk_texts(self._plan, count):
            encoded = orjson.dumps(text)
            logprobs = orjson.dumps(self._logprobs([text])) if self._wants_logprobs else b"null"
            yield b"".join(
                b'%b{"index":%d,"delta":{"content":%b},"logprobs":%b,"finish_reason":null}]}\n\n'
                % (self._head, number, encoded, logprobs)
                for number in range(self.choices)
            )

    def tool_call(self) -> Iterator[bytes]:
        """Yield the frames of one tool call: its name first, then its arguments in pieces."""
        yield self._chunk(0, {"tool_calls": [{"index": 0, **self._tool("")}]})
        for fragment in tool_fragments():
            yield self._chunk(0, {"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]})

    def finish(self, reason: str, generated_tokens: int) -> bytes:
        """Return the chunks with the finish reason and, when it was asked for, the one with the usage."""
        frames = [self._chunk(number, {}, reason) for number in range(self.choices)]
        if self._reports_usage:
            usage = orjson.dumps(usage_for(self._plan, "openai", generated_tokens))
            head = orjson.dumps({**self._constant, "object": "chat.completion.chunk", "choices": []})[:-1]
            frames.append(b'data: %b,"usage":%b}\n\n' % (head, usage))
        return b"".join(frames)

    def end(self) -> bytes:
        """Return the end marker."""
        return b"data: [DONE]\n\n"

    def ping(self) -> bytes:
        """Return a comment."""
        return b": ping\n\n"

    def malformed(self) -> bytes:
        """Return a data frame that is not JSON."""
        return self._head + b'{"index":0,"delta":{"content":"never clo\n\n'

    def error(self, body: dict[str, Any]) -> bytes:
        """Return an error in the middle of a stream."""
        return b"data: %b\n\n" % orjson.dumps(body)

    def whole(self, reason: str | None, count: int, generated_tokens: int) -> dict[str, Any]:
        """Return the answer with `count` chunks of text as one body."""
        texts = list(chunk_texts(self._plan, count))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts), "refusal": None, "annotations": []}
        if self._plan.behaviour == "tool-call":
            message |= {"content": None, "tool_calls": [self._tool(TOOL_ARGUMENTS)]}
        logprobs = self._logprobs(texts) if self._wants_logprobs else None
        choices = [
            {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}
            for number in range(self.choices)
        ]
        answer = {**self._constant, "object": "chat.completion", "choices": choices}
        if self._plan.behaviour != "no-usage":
            answer["usage"] = usage_for(self._plan, "openai", generated_tokens)
        return answer

    def _chunk(self, number: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"%b%b]}\n\n" % (self._head, orjson.dumps(choice))

    def _tool(self, arguments: str) -> dict[str, Any]:
        identity = {"id": f"call_{self._constant['id']}", "type": "function"}
        return {**identity, "function": {"name": TOOL_NAME, "arguments": arguments}}

    def _logprobs(self, texts: list[str]) -> dict[str, Any]:
        def entry(text: str) -> dict[str, Any]:
            return {"token": text, "logprob": -0.25, "bytes": list(text.encode())}

        content = [{**entry(text), "top_logprobs": [entry(text)][: self._top_logprobs]} for text in texts]
        return {"content": content, "refusal": None}
