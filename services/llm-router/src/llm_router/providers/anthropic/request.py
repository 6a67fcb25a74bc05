"""What a target on Anthropic's wire is asked: a request of the Messages API as it came, or an OpenAI body translated.

What is translated, left out or refused: docs/adr/0008-one-chat-body-inside.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from llm_router.errors import RequestRejected, RequestUntranslatable
from llm_router.providers.chat_body import Json

# The Messages API requires a limit; a caller that sets none wants the whole answer.
_MAX_TOKENS_WHEN_UNSET = 8192
# Anthropic refuses a longer user id.
_MAX_USER_CHARACTERS = 256
# They do not change the answer, or are set for each call, or are read together with another field.
_WITHOUT_EFFECT = frozenset(
    {
        *("messages", "metadata", "model", "parallel_tool_calls", "prompt_cache_key"),
        *(
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "stream",
            "stream_options",
        ),
        *("tool_choice", "user"),
    }
)
_NEUTRAL_VALUES: Json = {
    "n": 1,
    "logprobs": False,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
    "verbosity": "medium",
}
_TOOL_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
# What is translated, repeated elsewhere, or added by targets to answers that clients send back.
_MESSAGE_FIELDS = frozenset(
    {"role", "content", "refusal", "tool_calls", "tool_call_id", "annotations", "reasoning", "reasoning_content"}
)
_CALL_FIELDS = frozenset({"id", "type", "function", "index", "extra_content"})
# The last two change the price of the prompt and not the answer.
_PART_FIELDS = frozenset({"type", "text", "refusal", "image_url", "cache_control", "prompt_cache_breakpoint"})
_TOOL_FIELDS = frozenset({"type", "function", "cache_control", "prompt_cache_breakpoint"})


def to_messages_body(body: Json) -> Json:
    """Translate `body` (without a model). RequestUntranslatable names the first field that has no counterpart."""
    translated: Json = {"max_tokens": _MAX_TOKENS_WHEN_UNSET}
    for name, value in body.items():
        if value is None or name in _WITHOUT_EFFECT:
            continue
        if name in _FIELDS:
            _merge(translated, _FIELDS[name](value))
        elif name not in _NEUTRAL_VALUES or _NEUTRAL_VALUES[name] != value:
            raise _untranslatable(name)
    translated |= _Turns().read(body["messages"])
    if body.get("tools"):
        translated |= _tool_choice(body)
    user = body.get("safety_identifier") or body.get("user")
    if isinstance(user, str) and 0 < len(user) <= _MAX_USER_CHARACTERS:
        translated["metadata"] = {"user_id": user}
    return translated


def without_unsigned_thoughts(body: Json) -> Json:
    """Return a native body without thoughts of targets on other wires: Anthropic accepts only those it signed."""
    return {**body, "messages": [_without_unsigned(turn) for turn in body["messages"]]}


def _without_unsigned(turn: Any) -> Any:
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list) or turn.get("role") != "assistant":
        return turn
    return {**turn, "content": [block for block in content if not _is_unsigned(block)]}


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")


def _merge(translated: Json, more: Json) -> None:
    """Add `more`; two fields of OpenAI's may be parts of one at Anthropic's."""
    for name, value in more.items():
        translated[name] = {**translated[name], **value} if name == "output_config" and name in translated else value


def _untranslatable(name: str) -> RequestUntranslatable:
    return RequestUntranslatable.field(name, "in the Anthropic Messages API")


def _temperature(value: float) -> Json:
    if value > 1:
        raise RequestUntranslatable("Anthropic models take a temperature between 0 and 1", param="temperature")
    return {"temperature": value}


def _effort(value: str) -> Json:
    if value == "none":
        return {"thinking": {"type": "disabled"}}
    if value not in _EFFORTS:
        raise _untranslatable("reasoning_effort")
    return {"output_config": {"effort": value}}


def _response_format(value: Json) -> Json:
    if value.get("type") == "text":
        return {}
    named = value.get("json_schema") or {}
    schema = named.get("schema")
    if value.get("type") != "json_schema" or not isinstance(schema, dict):
        raise _untranslatable("response_format")
    if named.get("description"):
        raise _untranslatable("response_format.json_schema.description")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _tools(tools: list[Json]) -> Json:
    translated = [_tool(tool, f"tools.{index}") for index, tool in enumerate(tools)]
    return {"tools": translated} if translated else {}


def _tool(tool: Json, where: str) -> Json:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise _untranslatable(where)
    _refuse_unknown(tool, _TOOL_FIELDS, where)
    translated: Json = {"name": function["name"]}
    if function.get("description") is not None:
        translated["description"] = function["description"]
    translated["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        translated["strict"] = function["strict"]
    return translated


_FIELDS: dict[str, Callable[[Any], Json]] = {
    "max_tokens": lambda value: {"max_tokens": value},
    "max_completion_tokens": lambda value: {"max_tokens": value},
    "temperature": _temperature,
    "top_p": lambda value: {"top_p": value},
    "stop": lambda value: {"stop_sequences": [value] if isinstance(value, str) else list(value)},
    "reasoning_effort": _effort,
    "response_format": _response_format,
    "tools": _tools,
}


def _tool_choice(body: Json) -> Json:
    choice, parallel = body.get("tool_choice"), body.get("parallel_tool_calls")
    if choice is None and parallel is None:
        return {}
    choice = choice or "auto"
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise _untranslatable("tool_choice")
        translated = {"type": "tool", "name": choice["function"]["name"]}
    elif choice in _TOOL_CHOICES:
        translated = dict(_TOOL_CHOICES[choice])
    else:
        raise _untranslatable("tool_choice")
    if parallel is not None and translated["type"] != "none":
        translated["disable_parallel_tool_use"] = not parallel
    return {"tool_choice": translated}


class _Turns:
    """Messages become a system prompt and the turns of user and assistant."""

    def __init__(self) -> None:
        self._system: list[str | list[Json]] = []
        self._turns: list[Json] = []

    def read(self, messages: list[Json]) -> Json:
        """Return `messages` and `system` in Anthropic's words."""
        for index, message in enumerate(messages):
            self._take(message, f"messages.{index}")
        return {"messages": self._turns, **self._system_prompt()}

    def _take(self, message: Json, where: str) -> None:
        role = message["role"]
        _refuse_unknown(message, _MESSAGE_FIELDS | {"name"} if role == "tool" else _MESSAGE_FIELDS, where)
        if role == "tool":
            self._add_result(_tool_result(message, where))
            return
        if role == "assistant":
            content = _assistant_content(message, where)
        else:
            content = _content(message.get("content"), f"{where}.content")
        if role in {"system", "developer"}:
            self._system.append(content)
        elif role in {"user", "assistant"}:
            self._turns.append({"role": role, "content": content})
        else:
            raise _untranslatable(f"{where}.role")

    def _add_result(self, result: Json) -> None:
        """Add the result of a call; results of the calls of one turn belong into one turn."""
        last = self._turns[-1]["content"] if self._turns else None
        if isinstance(last, list) and last and last[-1]["type"] == "tool_result":
            last.append(result)
        else:
            self._turns.append({"role": "user", "content": [result]})

    def _system_prompt(self) -> Json:
        prompts = [prompt for prompt in self._system if prompt]
        if len(prompts) <= 1:
            return {"system": prompts[0]} if prompts else {}
        blocks = [_text_blocks(prompt) for prompt in prompts]
        return {"system": [block for group in blocks for block in group]}


def _text_blocks(content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _content(content: str | list[Json] | None, where: str) -> str | list[Json]:
    if content is None or isinstance(content, str):
        return content or ""
    return [_block(part, f"{where}.{index}") for index, part in enumerate(content)]


def _block(part: Json, where: str) -> Json:
    match part.get("type"):
        case "text" | "refusal" as kind:
            block: Json = {"type": "text", "text": part[kind]}
        case "image_url":
            block = {"type": "image", "source": _image_source(part["image_url"]["url"], where)}
        case _:
            raise _untranslatable(where)
    _refuse_unknown(part, _PART_FIELDS, where)
    return block


def _refuse_unknown(value: Json, known: frozenset[str], where: str) -> None:
    for name in value:
        if name not in known and value[name] is not None:
            raise _untranslatable(f"{where}.{name}")


def _image_source(url: str, where: str) -> Json:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, separator, data = url.removeprefix("data:").partition(";base64,")
    if not separator:
        raise _untranslatable(where)
    return {"type": "base64", "media_type": media_type, "data": data}


def _assistant_content(message: Json, where: str) -> str | list[Json]:
    """Return the content of an assistant's message: text first, tool calls after it."""
    content: str | list[Json] | None = message.get("content")
    if not content and message.get("refusal"):
        content = message["refusal"]
    calls = message.get("tool_calls") or ()
    uses = [_tool_use(call, f"{where}.tool_calls", index) for index, call in enumerate(calls)]
    if isinstance(content, str) and not uses:
        return content
    return [*_text_blocks(_content(content, f"{where}.content")), *uses]


def _tool_use(call: Json, where: str, index: int) -> Json:
    if call.get("type", "function") != "function":
        raise _untranslatable(where)
    _refuse_unknown(call, _CALL_FIELDS, f"{where}.{index}")
    try:
        arguments = orjson.loads(call["function"].get("arguments") or "{}")
    except orjson.JSONDecodeError as error:
        raise RequestRejected("the arguments of a tool call are not JSON", param=where) from error
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments}


def _tool_result(message: Json, where: str) -> Json:
    result: Json = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
    if message.get("content") is not None:
        result["content"] = _content(message["content"], f"{where}.content")
    return result
