"""Step 2 of the request path: who is it, may they ask this? Nothing is spent before it."""

from __future__ import annotations

from edge.conversation import Conversation
from edge.guard.keys import Identity, KeyRing
from edge.problems import Problem
from edge.router.models import ModelList
from pricing.estimate import estimate_tokens


class Guard:
    """Admits or rejects; a rejection is a Problem."""

    def __init__(self, keys: KeyRing, models: ModelList, max_prompt_tokens: int) -> None:
        self._keys = keys
        self._models = models
        self._max_prompt_tokens = max_prompt_tokens

    def identify(self, authorization: str | None, api_key: str | None = None) -> Identity:
        """Return who sent this `Authorization` or `x-api-key` header; Problem (401) when nobody we know."""
        scheme, _, key = f"Bearer {api_key}".partition(" ") if api_key else (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem("invalid_api_key", "send your API key in the header 'Authorization: Bearer sk-spillway-...'")
        identity = self._keys.identify(key.strip())
        if identity is None:
            raise Problem("invalid_api_key", "this API key is not known here; check for missing characters")
        return identity

    async def admit(self, conversation: Conversation) -> None:
        """Let the request pass; Problem when its model does not exist or its prompt is too long."""
        await self._models.require(conversation.requested_model)
        self._require_short(estimate_tokens(conversation.prompt_bytes()), "the prompt", "messages")

    async def admit_input(self, requested_model: str, longest_input_tokens: int) -> None:
        """Let a request for vectors pass; Problem when its model does not exist or an input is too long."""
        await self._models.require(requested_model)
        self._require_short(longest_input_tokens, "an input", "input")

    def _require_short(self, tokens: int, what: str, param: str) -> None:
        if tokens > self._max_prompt_tokens:
            raise Problem(
                "prompt_too_long",
                f"{what} has about {tokens} tokens; at most {self._max_prompt_tokens} are allowed",
                param=param,
            )
