"""A chat body for a target on OpenAI's wire."""

from __future__ import annotations

import hashlib
from typing import Any

from llm_router.errors import RequestRejected, RequestUntranslatable
from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.tool_names import ToolNames

# OpenAI refuses a longer `user`, and a longer id of a call; clients of the Messages API send long ones.
_MAX_USER_CHARACTERS = 64
_MAX_ID_CHARACTERS = 40
# What other vendors' clients write into messages, parts, calls and tools, and what their servers want back.
_MARKS = frozenset(
    {"cache_control", "reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "extra_content"}
)
_MARKED = frozenset({"content", "tool_calls", "function"})
# An engine that knows more of it than OpenAI gets it by OpenAI's name.
_TRANSLATED = frozenset({"stop_sequences"})
_NATIVE_NAMES = {"reasoning_effort": "output_config.effort", "user": "metadata.user_id"}


def to_openai_body(chat: ChatBody, native_fields: frozenset[str], names: ToolNames, dropped: Dropped) -> Json:
    """Return the OpenAI body of `chat` for a target that knows `native_fields` of the Messages API besides.

    `names` writes the names of tools, `dropped` gets the fields that are left out: both only where the request came in
    Anthropic's contract. RequestUntranslatable names the first field that would change the answer and that the target
    does not know.
    """
    form = chat.messages_form
    if form is None:
        return chat.openai
    for name in form.untranslatable:
        if name not in native_fields:
            raise RequestUntranslatable.field(name, "on OpenAI's wire")
    dropped.add_all(form.dropped)
    try:
        return _fitted(chat.openai | _known(form.body, native_fields), names, dropped)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RequestRejected("the translation has not the shape of the OpenAI contract", param="messages") from error


def callers_name(name: str, chat: ChatBody) -> str:
    """Return what the caller calls a field of its body, or of the translation."""
    return name if chat.messages_form is None else _NATIVE_NAMES.get(name, name)


def without_marks(body: Json, dropped: Dropped) -> Json:
    """Return a body without marks of a cache and thoughts of other models, which OpenAI refuses."""
    lists = {name: body[name] for name in ("messages", "tools") if isinstance(body.get(name), list)}
    return {**body, **{name: _unmarked(each, name, dropped) for name, each in lists.items()}}


def _unmarked(value: Any, where: str, dropped: Dropped) -> Any:
    if isinstance(value, list):
        return [_unmarked(each, f"{where}.{index}", dropped) for index, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept: Json = {}
    for name, each in value.items():
        if name in _MARKS:
            if each not in (None, "", [], {}):
                dropped.add(f"{where}.{name}")
        elif name in _MARKED:
            kept[name] = _unmarked(each, f"{where}.{name}", dropped)
        else:
            kept[name] = each
    return kept


def _known(native: Json, native_fields: frozenset[str]) -> Json:
    names = native_fields - _TRANSLATED
    return {name: native[name] for name in names if native.get(name) is not None}


def _fitted(translation: Json, names: ToolNames, dropped: Dropped) -> Json:
    """Return a translation within OpenAI's limits."""
    body = {**translation}
    user = body.get("user")
    if isinstance(user, str) and len(user) > _MAX_USER_CHARACTERS:
        del body["user"]
        dropped.add("metadata.user_id")
    if body.get("tools"):
        body["tools"] = [_named(tool, names) for tool in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = _named(body["tool_choice"], names)
    body["messages"] = [_message(message, names) for message in body["messages"]]
    return body


def _message(message: Any, names: ToolNames) -> Any:
    if not isinstance(message, dict):
        return message
    if message.get("tool_calls"):
        calls = [{**_named(call, names), "id": _short_id(call["id"])} for call in message["tool_calls"]]
        return {**message, "tool_calls": calls}
    if message.get("role") == "tool":
        return {**message, "tool_call_id": _short_id(message["tool_call_id"])}
    return message


def _named(value: Json, names: ToolNames) -> Json:
    """Return a tool, a call or a choice with the name of its function as the wire takes it."""
    function = value["function"]
    name = names.written(function["name"])
    return value if name == function["name"] else {**value, "function": {**function, "name": name}}


def _short_id(call_id: str) -> str:
    """Return the id of a call as OpenAI takes it; the same id always becomes the same."""
    if len(call_id) <= _MAX_ID_CHARACTERS:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode(errors='replace')).hexdigest()[:24]}"
