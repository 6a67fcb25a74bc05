"""All providers: what the routes file has to know of each, and how one is created.

A vendor's SDK takes a second and tens of megabytes to import, so only those that the routes name are.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from llm_router.providers.provider import Provider
from llm_router.target import Target


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider."""

    create: Callable[[Target, ssl.SSLContext], Provider]
    needs_credential: bool = True
    needs_base_url: bool = False
    """Whether there is no address of the vendor's own."""
    first_content_seconds: float | None = None
    """The default of this timer; None: that of all targets."""


def _openai(target: Target, ssl_context: ssl.SSLContext) -> Provider:
    from llm_router.providers.openai.provider import OpenAIProvider

    return OpenAIProvider(target, ssl_context)


def _anthropic(target: Target, ssl_context: ssl.SSLContext) -> Provider:
    from llm_router.providers.anthropic.provider import AnthropicProvider

    return AnthropicProvider(target, ssl_context)


def _vllm(target: Target, ssl_context: ssl.SSLContext) -> Provider:
    from llm_router.providers.vllm import create_vllm_provider

    return create_vllm_provider(target, ssl_context)


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


def create_provider(target: Target, ssl_context: ssl.SSLContext) -> Provider:
    """Return the provider that calls `target` and verifies its certificate with `ssl_context`."""
    return PROVIDERS[target.provider].create(target, ssl_context)
