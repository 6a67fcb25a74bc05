"""What makes two requests the same: the key of an answer in the response cache."""

from __future__ import annotations

import hashlib

import orjson

from edge.conversation import Conversation


def cache_key(tenant: str, requested_model: str, conversation: Conversation) -> str:
    """Return the Redis key of the answer: all of the request that can change it, the model, and the tenant.

    For `/v1/messages` the native form counts, of which the translation may say less; no other contract shares its keys.
    """
    document = orjson.dumps([tenant, requested_model, conversation.digest.hex()])
    return "spillway:cache:" + hashlib.sha256(document).hexdigest()
