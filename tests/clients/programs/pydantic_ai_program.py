"""Pydantic AI, on both contracts."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from asking import CHAT_MODEL, KEY, MESSAGES_MODEL, PAGE, PICTURE, QUESTION, RESULT, SYSTEM, root, run
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    celsius: int


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"{city}: {RESULT}"


def chat(case: str) -> OpenAIChatModel:
    """Return a model on the chat completions contract."""
    return OpenAIChatModel(CHAT_MODEL, provider=OpenAIProvider(base_url=f"{root(case)}/v1", api_key=KEY))


def messages(case: str) -> AnthropicModel:
    """Return a model on the Messages contract."""
    return AnthropicModel(MESSAGES_MODEL, provider=AnthropicProvider(base_url=root(case), api_key=KEY))


def asked(model: Any, *parts: Any, settings: Any = None, **options: Any) -> object:
    """Run an agent to its end."""
    return Agent(model, **options).run_sync([QUESTION, *parts], model_settings=settings).output


def streamed(model: Any) -> object:
    """Run an agent and read its stream."""

    async def read() -> object:
        async with Agent(model).run_stream(QUESTION) as result:
            return await result.get_output()

    return asyncio.run(read())


IMAGE = BinaryContent(base64.b64decode(PICTURE), media_type="image/png")
DOCUMENT = BinaryContent(base64.b64decode(PAGE), media_type="application/pdf")
THINKING = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
CACHING = {"anthropic_cache_instructions": True, "anthropic_cache_tool_definitions": True}

CASES = {
    "plain": asked,
    "stream": streamed,
    "system": lambda model: asked(model, instructions=SYSTEM),
    "tools": lambda model: asked(model, tools=[get_weather]),
    "picture": lambda model: asked(model, IMAGE),
    "document": lambda model: asked(model, DOCUMENT),
    "structured": lambda model: asked(model, output_type=Weather),
    "structured-schema": lambda model: asked(model, output_type=NativeOutput(Weather)),
    "temperature": lambda model: asked(model, settings={"temperature": 0.3, "parallel_tool_calls": False, "seed": 7}),
}

run(
    {
        **{f"chat-{name}": lambda case, ask=ask: ask(chat(case)) for name, ask in CASES.items()},
        "chat-thinking": lambda case: asked(
            chat(case), tools=[get_weather], settings={"openai_reasoning_effort": "low"}
        ),
        **{f"messages-{name}": lambda case, ask=ask: ask(messages(case)) for name, ask in CASES.items()},
        "messages-thinking": lambda case: asked(messages(case), tools=[get_weather], settings=THINKING),
        "messages-caching": lambda case: asked(
            messages(case), tools=[get_weather], instructions=SYSTEM, settings=CACHING
        ),
    }
)
