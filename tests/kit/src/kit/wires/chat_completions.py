"""Whether OpenAI would take a body of `POST /v1/chat/completions`: the types of its SDK, and its other rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from kit.wires.typed import faults_of as type_faults

Json = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# "messages[0].name: string does not match pattern"
_SPEAKER = re.compile(r"[^\s<|\\/>]+")
# "messages[2].tool_calls[0].id: string too long. Expected a string with maximum length 40"
_MAX_ID_CHARACTERS = 40
_MAX_STOPS, _MAX_TOOLS = 4, 128
_MAX_METADATA, _MAX_KEY_CHARACTERS, _MAX_VALUE_CHARACTERS = 16, 64, 512
_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2)}


def faults_of(body: Json) -> list[str]:
    """Return why OpenAI would refuse `body`; empty: it would take it."""
    # The other rules rely on the types.
    return list(_field_faults(body)) or [
        *_message_faults(body.get("messages") or []),
        *_call_faults(body.get("messages") or []),
        *_tool_faults(body),
        *_format_faults(body),
    ]


def _field_faults(body: Json) -> Iterator[str]:
    yield from type_faults(
        {name: value for name, value in body.items() if name != "stream"}, CompletionCreateParamsBase
    )
    if not isinstance(body.get("stream", False), bool | None):
        yield ".stream: no bool"
    if body.get("stream_options") is not None and not body.get("stream"):
        yield ".stream_options: only with stream"
    for name, (least, most) in _RANGES.items():
        if body.get(name) is not None and not least <= body[name] <= most:
            yield f".{name}: {body[name]!r} is not between {least} and {most}"
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and body[name] < 1:
            yield f".{name}: at least 1"
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        yield ".max_tokens: not together with max_completion_tokens"
    if isinstance(body.get("stop"), list) and not 1 <= len(body["stop"]) <= _MAX_STOPS:
        yield f".stop: 1 to {_MAX_STOPS} sequences"
    metadata = body.get("metadata") or {}
    if metadata and not body.get("store"):
        yield ".metadata: only with store"
    if len(metadata) > _MAX_METADATA:
        yield f".metadata: at most {_MAX_METADATA} pairs"
    for name, value in metadata.items():
        if len(name) > _MAX_KEY_CHARACTERS or len(value) > _MAX_VALUE_CHARACTERS:
            yield f".metadata.{name}: too long"


def _message_faults(messages: list[Json]) -> Iterator[str]:
    if not messages:
        yield ".messages: at least one message"
    for number, message in enumerate(messages):
        where = f".messages.{number}"
        if message.get("name") is not None and not _SPEAKER.fullmatch(message["name"]):
            yield f"{where}.name: {message['name']!r} does not match the pattern"
        content = message.get("content")
        if content == [] or (content is None and not message.get("tool_calls") and not message.get("refusal")):
            yield f"{where}.content: empty"
        if message.get("tool_calls") == []:
            yield f"{where}.tool_calls: empty"
        for index, part in enumerate(content if isinstance(content, list) else []):
            yield from _part_faults(part, f"{where}.content.{index}")
        for index, call in enumerate(message.get("tool_calls") or []):
            name = (call.get("function") or call.get("custom") or {}).get("name", "")
            if not _NAME.fullmatch(name):
                yield f"{where}.tool_calls.{index}.function.name: {name!r} does not match the pattern"
            if len(call["id"]) > _MAX_ID_CHARACTERS:
                yield f"{where}.tool_calls.{index}.id: longer than {_MAX_ID_CHARACTERS} characters"


def _part_faults(part: Json, where: str) -> Iterator[str]:
    if part["type"] == "image_url" and not part["image_url"]["url"].startswith(("https://", "http://", "data:image/")):
        yield f"{where}.image_url.url: neither an address nor data"
    file = part.get("file") or {}
    if part["type"] == "file" and "file_id" not in file and not {"file_data", "filename"} <= file.keys():
        yield f"{where}.file: needs file_id, or file_data with filename"
    if "file_data" in file and not file["file_data"].startswith("data:application/pdf;base64,"):
        yield f"{where}.file.file_data: no data URL of a PDF"


def _call_faults(messages: list[Json]) -> Iterator[str]:
    """The answers to all calls of a message follow it at once, and answer nothing else."""
    open_ids: set[str] = set()
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_ids:
                yield f".messages.{number}: answers {message['tool_call_id']!r}, which the message before did not call"
            open_ids.discard(message["tool_call_id"])
            continue
        if open_ids:
            yield f".messages.{number}: before it, {sorted(open_ids)} should have been answered"
        calls = [call["id"] for call in message.get("tool_calls") or []]
        if len(calls) != len(set(calls)):
            yield f".messages.{number}.tool_calls: ids must be unique"
        open_ids = set(calls)
    if open_ids:
        yield f".messages: {sorted(open_ids)} are not answered"


def _tool_faults(body: Json) -> Iterator[str]:
    tools = body.get("tools")
    if tools is None:
        yield from (f".{name}: only with tools" for name in ("tool_choice", "parallel_tool_calls") if name in body)
        return
    if not 1 <= len(tools) <= _MAX_TOOLS:
        yield f".tools: 1 to {_MAX_TOOLS}"
    for index, tool in enumerate(tools):
        function = tool.get("function") or tool.get("custom") or {}
        if not _NAME.fullmatch(function.get("name", "")):
            yield f".tools.{index}.function.name: {function.get('name')!r} does not match the pattern"
        parameters = function.get("parameters")
        if parameters is not None and parameters.get("type") != "object":
            yield f".tools.{index}.function.parameters.type: must be 'object'"
        if function.get("strict") and parameters is not None:
            yield from _loose_objects(parameters, f".tools.{index}.function.parameters")
    choice = body.get("tool_choice")
    names = [(tool.get("function") or tool.get("custom") or {}).get("name") for tool in tools]
    if isinstance(choice, dict) and "function" in choice and choice["function"]["name"] not in names:
        yield ".tool_choice.function.name: no such tool"


def _format_faults(body: Json) -> Iterator[str]:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object" and "json" not in str(body["messages"]).lower():
        yield ".response_format: json_object wants the word 'json' in the messages"
    if wanted.get("type") != "json_schema":
        return
    if not _NAME.fullmatch(wanted["json_schema"]["name"]):
        yield ".response_format.json_schema.name: does not match the pattern"
    if wanted["json_schema"].get("strict"):
        yield from _loose_objects(wanted["json_schema"].get("schema"), ".response_format.json_schema.schema")


def _loose_objects(schema: Any, where: str) -> Iterator[str]:
    """`strict` wants each object closed, and all its properties required."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from _loose_objects(each, f"{where}.{index}")
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            if schema.get("additionalProperties") is not False:
                yield f"{where}.additionalProperties: must be false"
            if set(schema.get("properties") or {}) != set(schema.get("required") or []):
                yield f"{where}.required: must name every property"
        for name, each in schema.items():
            yield from _loose_objects(each, f"{where}.{name}")
