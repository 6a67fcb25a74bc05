"""What makes two requests the same: the key of an answer in the response cache."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from edge.conversation import WITHOUT_EFFECT, Conversation


def cache_key(tenant: str, requested_model: str, conversation: Conversation) -> str:
    """Return the Redis key of the answer: every field of the body that can change it, the model, and the tenant.

    The encoding is canonical: keys sorted, absent fields absent, so `temperature` unset is not `temperature` 0. For
    `/v1/messages` the native form counts, of which the translation may say less; no other contract shares its keys.
    """
    form = conversation.messages_form
    relevant = [_relevant(conversation.body)] if form is None else [_relevant(form.fields), "messages", form.beta]
    document = [tenant, requested_model, *relevant]
    return "spillway:cache:" + hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _relevant(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT and value is not None}
