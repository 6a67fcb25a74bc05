"""A chat body for a target on OpenAI's wire: without what came from Anthropic's contract and has no word there."""

from __future__ import annotations

from typing import Any

from llm_router.errors import RequestUntranslatable
from llm_router.providers.chat_body import ChatBody

Json = dict[str, Any]

# OpenAI refuses a request whose `user` is longer; clients of the Messages API send long ones.
_MAX_USER_CHARACTERS = 64
_LONGEST_USER = 64
_LONGEST_NAME = 100


def to_openai_body(chat: ChatBody, native_fields: frozenset[str]) -> Json:
    """Return the OpenAI body of `chat` for a target that knows `native_fields` of the Messages API besides.

    RequestUntranslatable names the first field that would change the answer and that the target does not know.
    """
    form = chat.messages_form
    if form is None:
        return _without_private_key(chat.openai, native_fields)
    for name in form.untranslatable:
        if name not in native_fields:
            raise RequestUntranslatable.field(name, "on OpenAI's wire")
    body = {**chat.openai, **{name: form.body[name] for name in native_fields if form.body.get(name) is not None}}
    user = body.get("user")
    if isinstance(user, str) and len(user) > _MAX_USER_CHARACTERS:
        del body["user"]
    return body


def _without_private_key(body: Json, own_words: frozenset[str] = frozenset()) -> Json:
    """Return `body` as it is, or, when it came from Anthropic's contract, what OpenAI's wire can say of it.

    RequestUntranslatable names the first field that would change the answer and cannot be said; `own_words` are
    fields of Anthropic's that this target knows as well. See docs/adr/0008.
    """
    if "anthropic" not in body:
        return body
    carried = body["anthropic"]
    for name in carried["unsaid"]:
        if name not in own_words:
            told = str(name)[:_LONGEST_NAME]
            raise RequestUntranslatable(f"the field {told!r} has no counterpart on OpenAI's wire", param=told)
    plain = {name: value for name, value in body.items() if name != "anthropic"}
    plain |= {name: value for name, value in carried["fields"].items() if name in own_words}
    plain["messages"] = [_message(message) for message in body["messages"]]
    if "tools" in body:
        plain["tools"] = [_without_own(tool) for tool in body["tools"]]
    if len(body.get("user") or "") > _LONGEST_USER:
        del plain["user"]
    return plain


def _message(message: Json) -> Json:
    plain = _without_own(message)
    content = message.get("content")
    if isinstance(content, list):
        plain["content"] = [_without_own(part) for part in content if part["type"] != "anthropic"]
    if "tool_calls" in message:
        plain["tool_calls"] = [_without_own(call) for call in message["tool_calls"]]
        plain["content"] = plain["content"] or None
    elif not plain.get("content"):
        plain["content"] = ""
    result = message.get("anthropic", {}).get("result") or {}
    return _as_failure(plain) if result.get("is_error") else plain


def _as_failure(message: Json) -> Json:
    """Say in words that a tool has failed: a flag for it is Anthropic's alone."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": f"Error: {content}"}
    return {**message, "content": [{"type": "text", "text": "Error:"}, *content]}


def _without_own(part: Json) -> Json:
    return {name: value for name, value in part.items() if name != "anthropic"}
