"""Which provider a target has."""

from __future__ import annotations

import ssl

from llm_router.providers.provider import Provider
from llm_router.routes.file import Target


def create_provider(target: Target, ssl_context: ssl.SSLContext) -> Provider:
    """Return the provider that calls `target`, trusting whom `ssl_context` trusts.

    A vendor's SDK takes a second and tens of megabytes to import, so only those that the routes name are.
    """
    match target.provider:
        case "openai":
            from llm_router.providers.openai.provider import OpenAIProvider

            return OpenAIProvider(target, ssl_context)
        case "anthropic":
            from llm_router.providers.anthropic.provider import AnthropicProvider

            return AnthropicProvider(target, ssl_context)
        case "vllm":
            from llm_router.providers.vllm import create_vllm_provider

            return create_vllm_provider(target, ssl_context)
