"""A body of the Anthropic Messages API as an OpenAI chat body, with what OpenAI has no word for beside it.

That travels under the key `anthropic`, at the place it belongs to, and the llm-router takes it from there: to a
target on Anthropic's wire everything is said as it was asked, to every other target what only changes the price is
left out. `unsaid` lists the fields without which the answer would be another one, by the caller's names: a target
that cannot say them is not asked. See docs/adr/0008.
"""

from __future__ import annotations

from typing import Any

import orjson

from edge.problems import Problem

Json = dict[str, Any]

_TRANSLATED = frozenset(
    {
        *("model", "stream", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences"),
        *("tools", "tool_choice", "metadata", "output_config"),
    }
)
# They change what an answer costs, how fast it comes or what is told about it, and not the answer.
_WITHOUT_EFFECT = frozenset(
    {"cache_control", "citations", "diagnostics", "eager_input_streaming", "service_tier", "speed"}
)
# Every target thinks as it is made to: these two ask for nothing more.
_THINKING_WITHOUT_EFFECT = frozenset({"adaptive", "disabled"})
# Only the model that wrote them can read them, and it may be told without: other targets are.
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# Anthropic's own tools that cost nothing but tokens. Others are billed by use, which no usage that we record tells.
_TOKEN_ONLY_TOOLS = ("bash_", "browser_", "computer_", "memory_", "text_editor_", "tool_search_tool_", "web_fetch_")


def to_chat_body(body: Json, beta: str | None) -> Json:
    """Translate a body whose top level was checked. Problem names the block that makes no sense.

    `beta` is the header `anthropic-beta`, which says what a target on Anthropic's wire shall understand of the body.
    """
    unsaid: list[str] = []
    translated: Json = {"messages": _messages(body, unsaid), "max_completion_tokens": body["max_tokens"]}
    if not body["max_tokens"]:
        unsaid.append("max_tokens")
    same = ("temperature", "top_p")
    translated |= {name: body[name] for name in same if body.get(name) is not None}
    if body.get("stop_sequences"):
        translated["stop"] = body["stop_sequences"]
    fields = _own_fields(body, unsaid)
    if body.get("tools"):
        translated["tools"] = [_tool(tool, f"tools.{index}", unsaid) for index, tool in enumerate(body["tools"])]
        translated |= _tool_choice(body.get("tool_choice"), fields, unsaid)
    translated |= _metadata(body.get("metadata"), fields)
    translated |= _output_config(body.get("output_config"), fields, unsaid)
    own: Json = {"fields": fields, "unsaid": unsaid}
    return {**translated, "anthropic": {**own, "beta": beta} if beta else own}


def _own_fields(body: Json, unsaid: list[str]) -> Json:
    """Return the fields that only Anthropic has, as they came."""
    fields = {name: value for name, value in body.items() if name not in _TRANSLATED and value is not None}
    for name, value in fields.items():
        is_permission = name == "thinking" and str(value.get("type")) in _THINKING_WITHOUT_EFFECT
        if name not in _WITHOUT_EFFECT and not is_permission:
            unsaid.append(name)
    return fields


def _metadata(metadata: Json | None, fields: Json) -> Json:
    if not metadata:
        return {}
    if metadata.keys() != {"user_id"} or metadata["user_id"] is None:
        fields["metadata"] = metadata
    return {"user": metadata["user_id"]} if isinstance(metadata.get("user_id"), str) else {}


def _output_config(config: Json | None, fields: Json, unsaid: list[str]) -> Json:
    translated: Json = {}
    for name, value in (config or {}).items():
        if name == "effort" and isinstance(value, str):
            translated["reasoning_effort"] = value
        elif name == "format" and _is_schema(value):
            schema = {"name": "answer", "schema": value["schema"], "strict": True}
            translated["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            fields["output_config"] = config
            if value is not None:
                unsaid.append(f"output_config.{name}")
    return translated


def _is_schema(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"type", "schema"} and value["type"] == "json_schema"


def _tool_choice(choice: Json | None, fields: Json, unsaid: list[str]) -> Json:
    if choice is None:
        return {}
    kind = choice.get("type")
    if kind == "tool":
        name = _text_of(choice, "name", "tool_choice")
        translated: Json = {"tool_choice": {"type": "function", "function": {"name": name}}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        translated = {"tool_choice": _TOOL_CHOICES[kind]}
    else:
        raise _wrong("tool_choice.type", "must be auto, any, tool or none")
    alone = choice.get("disable_parallel_tool_use")
    if isinstance(alone, bool):
        translated["parallel_tool_calls"] = not alone
    rest = _rest(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice", unsaid)
    if rest:
        fields["tool_choice"] = choice
    return translated


def _tool(tool: Json, where: str, unsaid: list[str]) -> Json:
    kind = tool.get("type")
    if kind is not None and kind != "custom":
        if not str(kind).startswith(_TOKEN_ONLY_TOOLS):
            raise Problem(
                "unsupported_parameter",
                f"{where}: tools of the type {str(kind)[:50]!r} are billed by use, which this gateway cannot record",
                param=where,
            )
        unsaid.append(where)
        return {"type": "anthropic", "tool": tool}
    function: Json = {"name": _text_of(tool, "name", where)}
    if not isinstance(tool.get("input_schema"), dict):
        raise _wrong(f"{where}.input_schema", "must be a JSON schema")
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = tool["input_schema"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    rest = _rest(tool, {*function, "input_schema", "type"}, where, unsaid)
    if "type" in tool:
        rest["type"] = kind
    return _with({"type": "function", "function": function}, rest)


def _messages(body: Json, unsaid: list[str]) -> list[Json]:
    messages: list[Json] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _content(body["system"], "system", unsaid)})
    for index, turn in enumerate(body["messages"]):
        messages += _turn(turn, f"messages.{index}", unsaid)
    return messages


def _turn(turn: Json, where: str, unsaid: list[str]) -> list[Json]:
    """Return the messages of one turn; what is said with the first of them is marked as said in one breath."""
    role, content = turn["role"], turn["content"]
    if role == "assistant" and not isinstance(content, str):
        messages = [_assistant(content, f"{where}.content", unsaid)]
    elif role == "user" and not isinstance(content, str):
        messages = _user(content, f"{where}.content", unsaid)
    else:
        messages = [{"role": role, "content": _content(content, f"{where}.content", unsaid)}]
    if role == "system":
        messages[0]["anthropic"] = {"in_place": True}
    rest = _rest(turn, {"role", "content"}, where, unsaid)
    if rest:
        messages[0].setdefault("anthropic", {})["turn"] = rest
    for message in messages[1:]:
        message.setdefault("anthropic", {})["joined"] = True
    return messages


def _user(blocks: list[Json], where: str, unsaid: list[str]) -> list[Json]:
    """Return a message for each result of a tool and one for what stands between them."""
    messages: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_result":
            messages.append(_tool_result(block, place, unsaid))
            continue
        if not messages or messages[-1]["role"] != "user":
            messages.append({"role": "user", "content": []})
        messages[-1]["content"].append(_part(block, place, unsaid))
    return messages or [{"role": "user", "content": []}]


def _tool_result(block: Json, where: str, unsaid: list[str]) -> Json:
    result: Json = {"role": "tool", "tool_call_id": _text_of(block, "tool_use_id", where)}
    content = block.get("content")
    if content is not None:
        place = f"{where}.content"
        result["content"] = _content(content, place, unsaid)
        if isinstance(content, list):
            # OpenAI's tools answer in text.
            unsaid += [f"{place}.{i}" for i, part in enumerate(content) if part.get("type") == "image"]
    rest = _rest(block, {"type", "tool_use_id", "content", "is_error"}, where, unsaid)
    if "is_error" in block:
        rest["is_error"] = block["is_error"]
    return {**result, "anthropic": {"result": rest}} if rest else result


def _assistant(blocks: list[Json], where: str, unsaid: list[str]) -> Json:
    """Return one message. Calls of tools stand behind the text; where they did not, a part marks their place."""
    parts: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_use":
            parts.append({"type": "anthropic", "tool_call": len(calls)})
            calls.append(_tool_call(block, place, unsaid))
        else:
            parts.append(_part(block, place, unsaid))
    while parts and "tool_call" in parts[-1]:
        parts.pop()
    message: Json = {"role": "assistant", "content": parts or None}
    return {**message, "tool_calls": calls} if calls else message


def _tool_call(block: Json, where: str, unsaid: list[str]) -> Json:
    if not isinstance(block.get("input"), dict):
        raise _wrong(f"{where}.input", "must be a JSON object")
    function = {"name": _text_of(block, "name", where), "arguments": orjson.dumps(block["input"]).decode()}
    call = {"id": _text_of(block, "id", where), "type": "function", "function": function}
    return _with(call, _rest(block, {"type", "id", "name", "input"}, where, unsaid))


def _content(content: object, where: str, unsaid: list[str]) -> str | list[Json]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise _wrong(where, "must be a text or a list of content blocks")
    return [_part(block, f"{where}.{index}", unsaid) for index, block in enumerate(content)]


def _part(block: Json, where: str, unsaid: list[str]) -> Json:
    """Return a content block as a part of a message; one that OpenAI does not know travels whole."""
    kind = _text_of(block, "type", where)
    if kind == "text":
        part = {"type": "text", "text": _text_of(block, "text", where)}
        return _with(part, _rest(block, {"type", "text"}, where, unsaid))
    if kind == "image" and (url := _image_url(block.get("source"))):
        image: Json = {"type": "image_url", "image_url": {"url": url}}
        return _with(image, _rest(block, {"type", "source"}, where, unsaid))
    if kind in {"tool_use", "tool_result"}:
        raise _wrong(where, f"a {kind} does not belong here")
    if kind not in _THOUGHTS:
        unsaid.append(where)
    return {"type": "anthropic", "block": block}


def _image_url(source: object) -> str | None:
    """Return the address of an image, its bytes inside if it came so; None when OpenAI has no word for the source."""
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data), **rest} if not rest:
            return f"data:{media_type};base64,{data}" if ";" not in media_type else None
        case {"type": "url", "url": str(url), **rest} if not rest:
            return url if not url.startswith("data:") else None
        case _:
            return None


def _rest(block: Json, known: set[str], where: str, unsaid: list[str]) -> Json:
    """Return what `block` has besides the `known` fields, and note what other targets cannot do without."""
    rest = {name: value for name, value in block.items() if name not in known}
    for name, value in rest.items():
        is_neutral = value is None or name in _WITHOUT_EFFECT or (name == "caller" and value == {"type": "direct"})
        if not is_neutral:
            unsaid.append(f"{where}.{name}"[:100])
    return rest


def _with(part: Json, rest: Json) -> Json:
    return {**part, "anthropic": rest} if rest else part


def _text_of(block: Json, name: str, where: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{where}.{name}", "must be a text")
    return value


def _wrong(where: str, what: str) -> Problem:
    return Problem("invalid_request", f"{where}: {what}", param=where)
