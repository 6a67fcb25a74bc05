"""An OpenAI chat body in the words of the Anthropic Messages API.

A body that came from Anthropic's own contract carries under the key `anthropic` what OpenAI has no word for, at the
place it belongs to (the edge put it there, see docs/adr/0008): it leaves here as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from llm_router.errors import RequestRejected, RequestUntranslatable

Json = dict[str, Any]

# The Messages API wants a limit; a caller that sets none wants the whole answer.
_MAX_TOKENS_WHEN_UNSET = 8192
# Anthropic refuses a request with a longer name of the user behind it.
_LONGEST_USER = 256
# They change nothing in the answer, or they are set anew for this call, or they are read beside another field.
_WITHOUT_EFFECT = frozenset(
    {
        *("anthropic", "messages", "metadata", "model", "parallel_tool_calls", "prompt_cache_key"),
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
# What a message may have besides what is translated: told elsewhere, or an answer's own decoration sent back.
_MESSAGE_FIELDS = frozenset(
    {"role", "content", "refusal", "tool_calls", "tool_call_id", "annotations", "reasoning", "reasoning_content"}
    | {"anthropic"}
)


def to_messages_body(body: Json) -> Json:
    """Translate `body` (without a model). RequestUntranslatable names the first field that has no counterpart."""
    own: Json | None = body.get("anthropic")
    translated: Json = {"max_tokens": _MAX_TOKENS_WHEN_UNSET}
    for name, value in body.items():
        if value is None or name in _WITHOUT_EFFECT:
            continue
        if name in _FIELDS:
            _merge(translated, _FIELDS[name](value))
        elif name not in _NEUTRAL_VALUES or _NEUTRAL_VALUES[name] != value:
            raise _untranslatable(name)
    translated |= _Turns(is_own=own is not None).read(body["messages"])
    if body.get("tools"):
        translated |= _tool_choice(body)
    user = body.get("safety_identifier") or body.get("user")
    if isinstance(user, str) and 0 < len(user) <= _LONGEST_USER:
        translated["metadata"] = {"user_id": user}
    return {**translated, **own["fields"]} if own else translated


def without_unsigned_thoughts(body: Json) -> Json:
    """Return a native body without the thoughts that a target on another wire had: Anthropic takes what it signed."""
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
    if tool.get("type") == "anthropic":
        own: Json = tool["tool"]
        return own
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise _untranslatable(where)
    translated: Json = {"name": function["name"]}
    if function.get("description") is not None:
        translated["description"] = function["description"]
    translated["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        translated["strict"] = function["strict"]
    return {**translated, **tool.get("anthropic", {})}


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

    def __init__(self, *, is_own: bool) -> None:
        """`is_own`: the messages came from Anthropic's contract and say themselves which of them are one turn."""
        self._is_own = is_own
        self._system: list[str | list[Json]] = []
        self._turns: list[Json] = []

    def read(self, messages: list[Json]) -> Json:
        """Return `messages` and `system` in Anthropic's words."""
        for index, message in enumerate(messages):
            self._take(message, f"messages.{index}")
        return {"messages": self._turns, **self._system_prompt()}

    def _take(self, message: Json, where: str) -> None:
        for name, value in message.items():
            if name not in _MESSAGE_FIELDS and value is not None and (name, message["role"]) != ("name", "tool"):
                raise _untranslatable(f"{where}.{name}")
        role, own = message["role"], message.get("anthropic", {})
        if role in {"system", "developer"} and not own.get("in_place"):
            self._system.append(_content(message.get("content"), f"{where}.content"))
        elif role == "assistant":
            self._add(role, _assistant_content(message, where), own)
        elif role == "tool":
            self._add("user", [_tool_result(message, where)], {"joined": self._is_behind_a_result(), **own})
        elif role in {"user", "system"}:
            self._add(role, _content(message.get("content"), f"{where}.content"), own)
        else:
            raise _untranslatable(f"{where}.role")

    def _add(self, role: str, content: str | list[Json], own: Json) -> None:
        if own.get("joined"):
            self._turns[-1]["content"] += content
        else:
            self._turns.append({"role": role, "content": content, **own.get("turn", {})})

    def _is_behind_a_result(self) -> bool:
        """Results of the calls of one turn belong into one turn, which OpenAI's contract need not say."""
        if self._is_own or not self._turns:
            return False
        content = self._turns[-1]["content"]
        return isinstance(content, list) and bool(content) and content[-1]["type"] == "tool_result"

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
    kind = part.get("type")
    if kind == "anthropic":
        own: Json = part["block"]
        return own
    if kind == "text":
        block: Json = {"type": "text", "text": part["text"]}
    elif kind == "refusal":
        block = {"type": "text", "text": part["refusal"]}
    elif kind == "image_url":
        block = {"type": "image", "source": _image_source(part["image_url"]["url"], where)}
    else:
        raise _untranslatable(where)
    return {**block, **part.get("anthropic", {})}


def _image_source(url: str, where: str) -> Json:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, separator, data = url.removeprefix("data:").partition(";base64,")
    if not separator:
        raise _untranslatable(where)
    return {"type": "base64", "media_type": media_type, "data": data}


def _assistant_content(message: Json, where: str) -> str | list[Json]:
    """Return what the assistant said: words first and calls of tools behind them, unless a part marks their place."""
    content: str | list[Json] | None = message.get("content")
    if not content and message.get("refusal"):
        content = message["refusal"]
    calls = [_tool_use(call, where) for call in message.get("tool_calls") or ()]
    if isinstance(content, str):
        return [*_text_blocks(content), *calls] if calls else content
    blocks: list[Json] = []
    placed = 0
    for index, part in enumerate(content or ()):
        if "tool_call" in part:
            blocks.append(calls[placed])
            placed += 1
        elif not _is_unsigned_thought(part):
            blocks.append(_block(part, f"{where}.content.{index}"))
    return [*blocks, *calls[placed:]]


def _is_unsigned_thought(part: Json) -> bool:
    """Tell whether a target on another wire thought this: Anthropic takes back only what it has signed."""
    return _is_unsigned(part.get("block"))


def _tool_use(call: Json, where: str) -> Json:
    if call.get("type", "function") != "function":
        raise _untranslatable(f"{where}.tool_calls")
    try:
        arguments = orjson.loads(call["function"].get("arguments") or "{}")
    except orjson.JSONDecodeError as error:
        raise RequestRejected("the arguments of a tool call are not JSON", param=f"{where}.tool_calls") from error
    use = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments}
    return {**use, **call.get("anthropic", {})}


def _tool_result(message: Json, where: str) -> Json:
    result: Json = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
    if message.get("content") is not None:
        result["content"] = _content(message["content"], f"{where}.content")
    return {**result, **message.get("anthropic", {}).get("result", {})}
