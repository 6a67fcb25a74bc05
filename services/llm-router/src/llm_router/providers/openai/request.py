"""A chat body for a target on OpenAI's wire."""

from __future__ import annotations

from llm_router.errors import RequestUntranslatable
from llm_router.providers.chat_body import ChatBody, Json

# OpenAI refuses a request whose `user` is longer; clients of the Messages API send long ones.
_MAX_USER_CHARACTERS = 64


def to_openai_body(chat: ChatBody, native_fields: frozenset[str]) -> Json:
    """Return the OpenAI body of `chat` for a target that knows `native_fields` of the Messages API besides.

    RequestUntranslatable names the first field that would change the answer and that the target does not know.
    """
    form = chat.messages_form
    if form is None:
        return chat.openai
    for name in form.untranslatable:
        if name not in native_fields:
            raise RequestUntranslatable.field(name, "on OpenAI's wire")
    body = {**chat.openai, **{name: form.body[name] for name in native_fields if form.body.get(name) is not None}}
    user = body.get("user")
    if isinstance(user, str) and len(user) > _MAX_USER_CHARACTERS:
        del body["user"]
    return body
