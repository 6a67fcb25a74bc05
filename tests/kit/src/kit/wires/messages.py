"""Whether Anthropic would take a body of `POST /v1/messages`: the types of its SDK, and the rules of its documentation.

What the SDK of today no longer knows, sampling, is part of version 2023-06-01 alone
(platform.claude.com/docs/en/api/versioning). Fields of betas need the header `anthropic-beta`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anthropic.types.beta import message_create_params as beta_params
from anthropic.types.message_create_params import MessageCreateParamsBase

from kit.wires.typed import faults_of as type_faults

Json = dict[str, Any]

# "tool_use.id: String should match pattern"; the names of tools are shorter on other clouds that serve this wire: 64.
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": float("inf")}
_MAX_CACHE_MARKS = 4
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_UNIONS = ("oneOf", "anyOf", "allOf")


def faults_of(body: Json, version: str, betas: str = "") -> list[str]:
    """Return why Anthropic would refuse `body` with these headers; empty: it would take it."""
    # The other rules rely on the types.
    return list(_field_faults(body, version, betas)) or [
        *_turn_faults(body.get("messages") or []),
        *_tool_faults(body),
        *_call_faults(body.get("messages") or []),
        *_thinking_faults(body),
        *_limit_faults(body),
    ]


def _field_faults(body: Json, version: str, betas: str) -> Iterator[str]:
    kind = beta_params.MessageCreateParamsBase if betas else MessageCreateParamsBase
    sampling = {name: value for name, value in body.items() if name in _SAMPLING}
    rest = {name: value for name, value in body.items() if name not in (*_SAMPLING, "stream")}
    yield from type_faults(rest, kind)
    if not isinstance(body.get("stream", False), bool):
        yield ".stream: no bool"
    for name, value in sampling.items():
        if version != "2023-06-01":
            yield f".{name}: not in version {version!r}"
        elif not isinstance(value, int | float) or not 0 <= value <= _SAMPLING[name]:
            yield f".{name}: {value!r} is out of range"


def _turn_faults(messages: list[Json]) -> Iterator[str]:
    if not messages:
        yield ".messages: at least one message is required"
        return
    turns = [message for message in messages if message["role"] != "system"]
    if not turns or turns[0]["role"] != "user":
        yield ".messages: the first turn is the user's"
    for number, message in enumerate(messages):
        where = f".messages.{number}.content"
        if not message["content"] and (number < len(messages) - 1 or message["role"] != "assistant"):
            yield f"{where}: empty"
        for index, block in enumerate(blocks_of(message)):
            yield from _block_faults(block, f"{where}.{index}")
    last = messages[-1]
    blocks = blocks_of(last)
    if (
        last["role"] == "assistant"
        and blocks
        and str(blocks[-1].get("text", "")).rstrip() != blocks[-1].get("text", "")
    ):
        yield ".messages: the last assistant turn ends with white space"


def blocks_of(message: Json) -> list[Json]:
    """Return the blocks of a message; a text is one."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _block_faults(block: Json, where: str) -> Iterator[str]:
    kind = block.get("type")
    if kind == "text" and not block["text"].strip():
        yield f"{where}.text: without any text"
    if kind == "tool_use" and not _ID.fullmatch(block["id"]):
        yield f"{where}.id: {block['id']!r} does not match the pattern"
    if kind == "tool_use" and not _NAME.fullmatch(block["name"]):
        yield f"{where}.name: {block['name']!r} does not match the pattern"
    source = block.get("source") or {}
    if kind == "image" and source.get("type") == "base64" and source["media_type"] not in _IMAGES:
        yield f"{where}.source.media_type: {source['media_type']!r}"
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for index, inner in enumerate(block["content"]):
            yield from _block_faults(inner, f"{where}.content.{index}")


def _tool_faults(body: Json) -> Iterator[str]:
    tools = body.get("tools") or []
    names = [tool.get("name") for tool in tools]
    if len(names) != len(set(names)):
        yield ".tools: names must be unique"
    for index, tool in enumerate(tools):
        schema = tool.get("input_schema")
        if not _NAME.fullmatch(tool.get("name") or ""):
            yield f".tools.{index}.name: {tool.get('name')!r} does not match the pattern"
        if schema is not None and schema.get("type") != "object":
            yield f".tools.{index}.input_schema.type: must be 'object'"
        if schema is not None and any(name in schema for name in _UNIONS):
            yield f".tools.{index}.input_schema: no union at the top"
    used = [block["type"] for message in body.get("messages") or [] for block in blocks_of(message)]
    if not tools and not {"tool_use", "tool_result"}.isdisjoint(used):
        yield ".tools: required when messages hold tool blocks"
    if body.get("tool_choice") and not tools:
        yield ".tool_choice: only with tools"
    if (body.get("tool_choice") or {}).get("type") == "tool" and body["tool_choice"]["name"] not in names:
        yield ".tool_choice.name: no such tool"


def _call_faults(messages: list[Json]) -> Iterator[str]:
    """Each call is answered in the very next turn, before any other block, and nothing else is answered there."""
    turns = merged(messages)
    open_ids: set[str] = set()
    for number, (role, blocks) in enumerate(turns):
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if open_ids - set(results):
            yield f".messages: {sorted(open_ids - set(results))} without tool_result in the next turn"
        if set(results) - open_ids:
            yield f".messages: tool_result for {sorted(set(results) - open_ids)}, which the turn before did not call"
        if len(results) != len(set(results)):
            yield ".messages: two tool_result blocks for one call"
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            yield f".messages: turn {number}: tool_result blocks come first"
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(calls) != len(set(calls)):
            yield ".messages: tool_use ids must be unique"
        open_ids = set(calls) if role == "assistant" else set()
    if open_ids:
        yield f".messages: {sorted(open_ids)} without tool_result"


def merged(messages: list[Json]) -> list[tuple[str, list[Json]]]:
    """Return the turns as Anthropic sees them: successive messages of one role are one turn; a system turn is none."""
    turns: list[tuple[str, list[Json]]] = []
    for message in messages:
        if message["role"] == "system":
            continue
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks_of(message))
        else:
            turns.append((message["role"], blocks_of(message)))
    return turns


def _thinking_faults(body: Json) -> Iterator[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if thinking["type"] == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield ".thinking.budget_tokens: at least 1024 and less than max_tokens"
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield ".tool_choice: no tool can be forced while thinking"
    if body.get("temperature", 1) != 1 or "top_k" in body or body.get("top_p", 1) < 0.95:
        yield ".temperature: no sampling while thinking"
    turns = merged(body.get("messages") or [])
    if len(turns) > 1 and turns[-1][1][0]["type"] == "tool_result" and thinking["type"] == "enabled":
        first = turns[-2][1][0]["type"]
        if first not in ("thinking", "redacted_thinking"):
            yield f".messages: expected a thinking block before the calls, found {first!r}"


def _limit_faults(body: Json) -> Iterator[str]:
    if body.get("max_tokens", 1) < 1:
        yield ".max_tokens: at least 1"
    if sum(1 for _ in _cache_marks(body)) > _MAX_CACHE_MARKS:
        yield f".cache_control: more than {_MAX_CACHE_MARKS} blocks"
    for index, stop in enumerate(body.get("stop_sequences") or []):
        if not stop.strip():
            yield f".stop_sequences.{index}: each must contain non-whitespace"
    for index, block in enumerate(body["system"] if isinstance(body.get("system"), list) else []):
        yield from _block_faults(block, f".system.{index}")
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is not None:
        yield from _open_objects(schema, ".output_config.format.schema")


def _cache_marks(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        if value.get("cache_control"):
            yield value
        for each in value.values():
            yield from _cache_marks(each)
    elif isinstance(value, list):
        for each in value:
            yield from _cache_marks(each)


def _open_objects(schema: Any, where: str) -> Iterator[str]:
    """Structured outputs want each object closed."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from _open_objects(each, f"{where}.{index}")
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            yield f"{where}.additionalProperties: must be false"
        for name, each in schema.items():
            yield from _open_objects(each, f"{where}.{name}")
