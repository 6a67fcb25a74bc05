"""Which provider a target has."""

from __future__ import annotations

from llm_router.providers.answer import Provider
from llm_router.routes import Target


def create_provider(target: Target) -> Provider:
    """Return the provider that calls `target`.

    A vendor's SDK takes a second and tens of megabytes to import, so only those that the routes name are.
    """
    match target.provider:
        case "openai":
            from llm_router.providers.openai import OpenAIProvider

            return OpenAIProvider(target)
        case "anthropic":
            from llm_router.providers.anthropic import AnthropicProvider

            return AnthropicProvider(target)
        case "vllm":
            from llm_router.providers.vllm import create_vllm_provider

            return create_vllm_provider(target)
