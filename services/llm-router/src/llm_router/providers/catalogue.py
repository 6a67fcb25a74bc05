"""All providers: what the routes file has to know of each, and how one is created.

A vendor's SDK takes a second and tens of megabytes to import, so only those that the routes name are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from llm_router.providers.http.transport import Network
from llm_router.providers.provider import Provider
from llm_router.target import Target


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider."""

    create: Callable[[Target, Network], Provider]
    needs_credential: bool = True
    needs_base_url: bool = False
    """Whether there is no address of the vendor's own."""
    first_content_seconds: float | None = None
    """The default of this timer; None: that of all targets."""


def _openai(target: Target, network: Network) -> Provider:
    from llm_router.providers.openai.provider import OpenAIProvider

    return OpenAIProvider(target, network)


def _anthropic(target: Target, network: Network) -> Provider:
    from llm_router.providers.anthropic.provider import AnthropicProvider

    return AnthropicProvider(target, network)


def _vllm(target: Target, network: Network) -> Provider:
    from llm_router.providers.vllm import create_vllm_provider

    return create_vllm_provider(target, network)


ProviderName = Literal["openai", "anthropic", "vllm"]
PROVIDERS: Mapping[str, ProviderSpec] = {
    "openai": ProviderSpec(_openai),
    "anthropic": ProviderSpec(_anthropic),
    # An engine of our own is the last target of a route: giving up on it early gains nothing.
    "vllm": ProviderSpec(_vllm, needs_credential=False, needs_base_url=True, first_content_seconds=30.0),
}


# What the SDKs read from the environment by themselves: addresses, and headers and accounts for all targets alike.
_SDK_PREFIXES = ("OPENAI_", "ANTHROPIC_")


def forget_sdk_environment() -> None:
    """Make the routes file the only place that says where a request goes and which credential it carries."""
    for name in [name for name in os.environ if name.startswith(_SDK_PREFIXES)]:
        del os.environ[name]


def create_provider(target: Target, network: Network) -> Provider:
    """Return the provider that calls `target` over `network`."""
    return PROVIDERS[target.provider].create(target, network)
