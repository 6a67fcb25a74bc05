"""Reads what a client received, byte by byte, in each contract, streaming and not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from kit.load.questions import CHAT, COMPLETIONS, MESSAGES, Question

Json = dict[str, Any]
End = Literal["complete", "cut", "left", "hung"]

_CONTINUED = re.compile(rb"^: continued by \S+ after (\d+) characters: ")
# The finish reasons of the contracts, in the fault provider's words.
_REASONS = {"tool_call": "tool_calls", "end_turn": "stop", "max_tokens": "length", "refusal": "content_filter"}
_REASONS["tool_use"] = "tool_calls"


@dataclass(frozen=True)
class Transcript:
    """One response as received."""

    question: Question
    request_id: str
    """The client's own, which the ledger stores beside the id minted by the edge."""
    status: int
    """0: no status line was received."""
    cache_status: str
    content: bytes
    end: End
    seconds: float
    broken_by: str = ""
    """The error of a broken connection."""
    minted_id: str = ""
    """The id minted by the edge, from the response; empty without a response."""

    @property
    def is_hit(self) -> bool:
        """Whether it says that it comes from the cache."""
        return "; hit" in self.cache_status


@dataclass
class Reading:
    """The content of a response."""

    text: str = ""
    tool_arguments: str = ""
    continuations: list[tuple[int, int]] = field(default_factory=list)
    """For each: the announced and the actual number of characters before it."""
    finish_reason: str = ""
    """In the fault provider's words; empty: it did not claim to be complete."""
    error_code: str = ""
    """Empty: it reported no failure."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with its form."""

    @property
    def is_success(self) -> bool:
        """Whether it claims to be complete."""
        return bool(self.finish_reason)


class _Malformed(Exception):
    """A frame violates its contract."""


def read(transcript: Transcript) -> Reading:
    """Read a response, complete or not."""
    reading = Reading()
    if transcript.status == 0:
        return reading
    try:
        if transcript.status != 200 or not transcript.question.is_streaming:
            _read_whole(transcript, reading)
        else:
            _read_stream(transcript, reading)
    except (_Malformed, KeyError, IndexError, TypeError, orjson.JSONDecodeError) as error:
        reading.faults.append(f"malformed: {type(error).__name__} {error}")
    return reading


def _read_whole(transcript: Transcript, reading: Reading) -> None:
    if transcript.end != "complete":
        return
    body = orjson.loads(transcript.content)
    if transcript.status != 200:
        reading.error_code = body["error"].get("code") or body["error"]["type"]
        return
    match transcript.question.path:
        case path if path == CHAT:
            reading.text = body["text"]
            reading.tool_arguments = "".join(call["arguments"] for call in body["tool_calls"])
            places = [continued["after_characters"] for continued in body["continuations"]]
            reading.continuations = [(place, place) for place in places]
            reason = body["finish_reason"]
        case path if path == COMPLETIONS:
            (choice,) = body["choices"]
            reading.text = choice["message"]["content"] or choice["message"]["refusal"] or ""
            calls = choice["message"].get("tool_calls") or []
            reading.tool_arguments = "".join(call["function"]["arguments"] for call in calls)
            reason = choice["finish_reason"]
        case _:
            for block in body["content"]:
                if block["type"] == "text":
                    reading.text += block["text"]
                elif block["type"] == "tool_use":
                    reading.tool_arguments += orjson.dumps(block["input"]).decode()
            reason = body["stop_reason"]
    reading.finish_reason = _REASONS.get(reason, reason)


def _read_stream(transcript: Transcript, reading: Reading) -> None:
    """Read all frames; none may follow the terminal one."""
    *frames, rest = transcript.content.split(b"\n\n")
    if rest and transcript.end != "left":
        reading.faults.append("the last frame is incomplete")
    take = {CHAT: _take_chat, COMPLETIONS: _take_completion, MESSAGES: _take_message}[transcript.question.path]
    ends = 0
    for frame in frames:
        if ends:
            reading.faults.append("a frame after the terminal frame")
        if frame.startswith(b":"):
            continuation = _CONTINUED.match(frame)
            if continuation is not None:
                reading.continuations.append((int(continuation[1]), len(reading.text)))
            continue
        ends += take(frame, reading)
    if transcript.end == "complete" and ends != 1:
        reading.faults.append(f"{ends} terminal frames")
    if reading.finish_reason and reading.error_code:
        reading.faults.append("both success and failure")
    if transcript.end == "left" and not ends:
        reading.finish_reason = ""  # the end was on its way


_Take = Callable[[bytes, Reading], bool]


def _take_chat(frame: bytes, reading: Reading) -> bool:
    """Take an event of `/chat`; return whether it is terminal."""
    name, data = _event(frame)
    match name:
        case "start":
            return False
        case "delta":
            reading.text += data["text"]
            return False
        case "tool_call":
            reading.tool_arguments += data["arguments"]
            return False
        case "continued":
            reading.continuations.append((data["after_characters"], len(reading.text)))
            return False
        case "done":
            reading.finish_reason = _REASONS.get(data["finish_reason"], data["finish_reason"])
            return True
        case "error":
            reading.error_code = data["error"]["code"]
            return True
    raise _Malformed(f"event {name!r}")


def _take_completion(frame: bytes, reading: Reading) -> bool:
    """Take a chunk of OpenAI's contract."""
    data = frame.removeprefix(b"data: ")
    if data == b"[DONE]":
        if not reading.finish_reason:
            reading.faults.append("[DONE] without a finish reason")
        return True
    chunk = orjson.loads(data)
    if "error" in chunk:
        reading.error_code = chunk["error"]["code"]
        return True
    for choice in chunk["choices"]:
        if reading.finish_reason:
            reading.faults.append("content after the finish reason")
        delta = choice["delta"]
        reading.text += delta.get("content") or delta.get("refusal") or ""
        for call in delta.get("tool_calls") or ():
            reading.tool_arguments += call["function"].get("arguments") or ""
        reading.finish_reason = choice["finish_reason"] or ""
    return False


def _take_message(frame: bytes, reading: Reading) -> bool:
    """Take an event of Anthropic's contract."""
    name, data = _event(frame)
    match name:
        case "content_block_delta":
            delta = data["delta"]
            reading.text += delta.get("text", "")
            reading.tool_arguments += delta.get("partial_json", "")
            return False
        case "message_start" | "content_block_start" | "content_block_stop" | "ping":
            return False
        case "message_delta":
            reason = data["delta"]["stop_reason"]
            reading.finish_reason = _REASONS.get(reason, reason)
            return False
        case "message_stop":
            if not reading.finish_reason:
                reading.faults.append("message_stop without a stop reason")
            return True
        case "error":
            reading.error_code = data["error"]["type"]
            return True
    raise _Malformed(f"event {name!r}")


def _event(frame: bytes) -> tuple[str, Any]:
    fields = dict(_fields(frame))
    return fields[b"event"].decode(), orjson.loads(fields[b"data"])


def _fields(frame: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b": ")
        yield name, value
