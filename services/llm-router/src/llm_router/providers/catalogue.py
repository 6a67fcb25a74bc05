"""Creates the provider of a target: by the wire that its vendor speaks.

A vendor's SDK takes a second and tens of megabytes to import, so only those that the routes need are.
"""

from __future__ import annotations

import os

from llm_router.providers.http.transport import Network
from llm_router.providers.provider import Provider
from llm_router.target import Target
from llm_router.vendors import PROVIDERS

# What the SDKs read from the environment by themselves: addresses, and headers and accounts for all targets alike.
_SDK_PREFIXES = ("OPENAI_", "ANTHROPIC_")


def forget_sdk_environment() -> None:
    """Make the routes file the only place that says where a request goes and which credential it carries."""
    for name in [name for name in os.environ if name.startswith(_SDK_PREFIXES)]:
        del os.environ[name]


def create_provider(target: Target, network: Network) -> Provider:
    """Return the provider that calls `target` over `network`."""
    if PROVIDERS[target.provider].wire == "anthropic":
        from llm_router.providers.anthropic.provider import AnthropicProvider

        return AnthropicProvider(target, network)
    from llm_router.providers.openai.provider import OpenAIProvider

    return OpenAIProvider(target, network)
