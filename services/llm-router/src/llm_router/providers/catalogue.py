"""Which provider a target has."""

from __future__ import annotations

from llm_router.providers.answer import Provider
from llm_router.providers.anthropic import AnthropicProvider
from llm_router.providers.openai import OpenAIProvider
from llm_router.providers.vllm import create_vllm_provider
from llm_router.routes import Target


def create_provider(target: Target) -> Provider:
    """Return the provider that calls `target`."""
    match target.provider:
        case "openai":
            return OpenAIProvider(target)
        case "anthropic":
            return AnthropicProvider(target)
        case "vllm":
            return create_vllm_provider(target)
