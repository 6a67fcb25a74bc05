"""LlamaIndex, over both vendors' packages."""

from __future__ import annotations

import base64
from typing import Any

from asking import CHAT_MODEL, KEY, MESSAGES_MODEL, PAGE, PICTURE, QUESTION, RESULT, SYSTEM, root, run
from llama_index.core.llms import ChatMessage, DocumentBlock, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel, Field


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(description="The city.")
    celsius: int


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"{city}: {RESULT}"


TOOL = FunctionTool.from_defaults(get_weather)
IMAGE = ImageBlock(image=base64.b64decode(PICTURE), image_mimetype="image/png")
DOCUMENT = DocumentBlock(data=base64.b64decode(PAGE), document_mimetype="application/pdf", title="page.pdf")
THINKING = {"type": "enabled", "budget_tokens": 1024}


def chat(case: str, **options: Any) -> OpenAI:
    """Return a model on the chat completions contract."""
    return OpenAI(model=CHAT_MODEL, api_base=f"{root(case)}/v1", api_key=KEY, max_retries=0, **options)


def messages(case: str, **options: Any) -> Anthropic:
    """Return a model on the Messages contract."""
    return Anthropic(model=MESSAGES_MODEL, base_url=root(case), api_key=KEY, max_retries=0, **options)


def with_tools(model: Any) -> object:
    """Ask with a tool, run it, and ask again with its result."""
    question = ChatMessage(role="user", content=QUESTION)
    call = model.chat_with_tools([TOOL], chat_history=[question])
    results = [
        ChatMessage(
            role="tool", content=RESULT, additional_kwargs={"tool_call_id": each.tool_id, "name": each.tool_name}
        )
        for each in model.get_tool_calls_from_response(call)
    ]
    return model.chat_with_tools([TOOL], chat_history=[question, call.message, *results]).message.content


def with_blocks(model: Any, *blocks: Any) -> object:
    """Ask with pictures or documents."""
    return model.chat([ChatMessage(role="user", blocks=[TextBlock(text=QUESTION), *blocks])]).message.content


def asked(model: Any, system: str = "") -> object:
    """Ask, after a system prompt where there is one."""
    before = [ChatMessage(role="system", content=system)] if system else []
    return model.chat([*before, ChatMessage(role="user", content=QUESTION)]).message.content


def streamed(model: Any) -> object:
    """Ask for a stream."""
    return "".join(each.delta or "" for each in model.stream_chat([ChatMessage(role="user", content=QUESTION)]))


CASES = {
    "plain": asked,
    "stream": streamed,
    "system": lambda model: asked(model, SYSTEM),
    "tools": with_tools,
    "picture": lambda model: with_blocks(model, IMAGE),
    "document": lambda model: with_blocks(model, DOCUMENT),
    "structured": lambda model: model.as_structured_llm(Weather).chat([ChatMessage(role="user", content=QUESTION)]).raw,
}

run(
    {
        **{f"chat-{name}": lambda case, ask=ask: ask(chat(case)) for name, ask in CASES.items()},
        "chat-temperature": lambda case: asked(chat(case, temperature=1.4)),
        **{f"messages-{name}": lambda case, ask=ask: ask(messages(case)) for name, ask in CASES.items()},
        "messages-temperature": lambda case: asked(messages(case, temperature=0.3)),
        "messages-thinking": lambda case: with_tools(
            messages(case, temperature=1.0, max_tokens=2048, thinking_dict=THINKING)
        ),
    }
)
