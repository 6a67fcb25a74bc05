"""The provider `vllm`: the OpenAI wire without a key, for engines of our own (vLLM, llama.cpp)."""

from __future__ import annotations

from openai import Omit

from llm_router.providers.http.transport import Network
from llm_router.providers.openai.provider import OpenAIProvider
from llm_router.target import Target


def create_vllm_provider(target: Target, network: Network) -> OpenAIProvider:
    """Return a provider for an engine that speaks the OpenAI wire.

    A credential is sent only when the target has one.
    """
    headers = {} if target.credential else {"Authorization": Omit()}
    return OpenAIProvider(target, network, headers=headers, native_fields=frozenset({"top_k"}))
