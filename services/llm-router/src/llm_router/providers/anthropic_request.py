"""An OpenAI chat body in the words of the Anthropic Messages API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from llm_router.errors import RequestRejected, RequestUntranslatable

Json = dict[str, Any]

# The Messages API wants a limit; a caller that sets none wants the whole answer.
_MAX_TOKENS_WHEN_UNSET = 8192
# They change nothing in the answer, or they are set anew for this call.
_WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "model",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "user",
    }
)
_NEUTRAL_VALUES: Json = {
    "n": 1,
    "logprobs": False,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
    "parallel_tool_calls": True,
}
_TOOL_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}


def to_messages_body(body: Json) -> Json:
    """Translate `body` (without a model). RequestUntranslatable names the first field that has no counterpart."""
    translated: Json = {"max_tokens": _MAX_TOKENS_WHEN_UNSET}
    for name, value in body.items():
        if value is None or name in _WITHOUT_EFFECT or name in {"messages", "tool_choice", "parallel_tool_calls"}:
            continue
        if name in _FIELDS:
            translated |= _FIELDS[name](value)
        elif _NEUTRAL_VALUES.get(name) != value:
            raise _untranslatable(name)
    translated |= _conversation(body["messages"])
    if body.get("tools"):
        translated |= _tool_choice(body)
    return translated


def _untranslatable(name: str) -> RequestUntranslatable:
    return RequestUntranslatable(f"the field {name!r} has no counterpart in the Anthropic Messages API", param=name)


def _temperature(value: float) -> Json:
    if value > 1:
        raise RequestUntranslatable("Anthropic models take a temperature between 0 and 1", param="temperature")
    return {"temperature": value}


def _response_format(value: Json) -> Json:
    if value.get("type") == "text":
        return {}
    schema = (value.get("json_schema") or {}).get("schema")
    if value.get("type") != "json_schema" or not isinstance(schema, dict):
        raise _untranslatable("response_format")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _tools(tools: list[Json]) -> Json:
    translated = []
    for tool in tools:
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise _untranslatable("tools")
        translated.append(
            {
                "name": function["name"],
                "description": function.get("description") or "",
                "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
            }
        )
    return {"tools": translated} if translated else {}


_FIELDS: dict[str, Callable[[Any], Json]] = {
    "max_tokens": lambda value: {"max_tokens": value},
    "max_completion_tokens": lambda value: {"max_tokens": value},
    "temperature": _temperature,
    "top_p": lambda value: {"top_p": value},
    "stop": lambda value: {"stop_sequences": [value] if isinstance(value, str) else list(value)},
    "response_format": _response_format,
    "tools": _tools,
}


def _tool_choice(body: Json) -> Json:
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise _untranslatable("tool_choice")
        translated = {"type": "tool", "name": choice["function"]["name"]}
    elif choice in _TOOL_CHOICES:
        translated = dict(_TOOL_CHOICES[choice])
    else:
        raise _untranslatable("tool_choice")
    if body.get("parallel_tool_calls") is False and translated["type"] != "none":
        translated["disable_parallel_tool_use"] = True
    return {"tool_choice": translated}


def _conversation(messages: list[Json]) -> Json:
    """Split off the system prompt and turn the rest into user and assistant turns."""
    system: list[Json] = []
    turns: list[Json] = []
    for message in messages:
        role = message["role"]
        if role in {"system", "developer"}:
            system += _blocks(message.get("content"))
        elif role == "assistant":
            turns.append({"role": "assistant", "content": _assistant_blocks(message)})
        elif role == "tool":
            _add_tool_result(turns, message)
        elif role == "user":
            turns.append({"role": "user", "content": _blocks(message.get("content"))})
        else:
            raise _untranslatable("messages")
    return {"messages": turns, "system": system} if system else {"messages": turns}


def _blocks(content: str | list[Json] | None) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_block(part) for part in content or ()]


def _block(part: Json) -> Json:
    if part.get("type") == "text":
        return {"type": "text", "text": part["text"]}
    if part.get("type") == "image_url":
        return {"type": "image", "source": _image_source(part["image_url"]["url"])}
    raise _untranslatable("messages")


def _image_source(url: str) -> Json:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, separator, data = url.removeprefix("data:").partition(";base64,")
    if not separator:
        raise _untranslatable("messages")
    return {"type": "base64", "media_type": media_type, "data": data}


def _assistant_blocks(message: Json) -> list[Json]:
    blocks = _blocks(message.get("content"))
    for call in message.get("tool_calls") or ():
        try:
            arguments = orjson.loads(call["function"].get("arguments") or "{}")
        except orjson.JSONDecodeError as error:
            raise RequestRejected("the arguments of a tool call are not JSON", param="messages") from error
        blocks.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments})
    return blocks


def _add_tool_result(turns: list[Json], message: Json) -> None:
    """Append the result of a tool; results of one turn belong into one user turn."""
    result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": _blocks(message.get("content"))}
    previous = turns[-1]["content"] if turns else []
    if previous and previous[-1]["type"] == "tool_result":
        previous.append(result)
    else:
        turns.append({"role": "user", "content": [result]})
