"""LangChain and LangGraph, over both vendors' packages."""

from __future__ import annotations

from typing import Any

from asking import CHAT_MODEL, KEY, MESSAGES_MODEL, PAGE, PICTURE, QUESTION, RESULT, SYSTEM, root, run
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel, Field


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(description="The city.")
    celsius: int = Field(ge=-90, le=60)


@tool
def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"{city}: {RESULT}"


def chat(case: str, **options: Any) -> ChatOpenAI:
    """Return a model on the chat completions contract."""
    return ChatOpenAI(model=CHAT_MODEL, base_url=f"{root(case)}/v1", api_key=KEY, max_retries=0, **options)


def messages(case: str, **options: Any) -> ChatAnthropic:
    """Return a model on the Messages contract."""
    return ChatAnthropic(model=MESSAGES_MODEL, base_url=root(case), api_key=KEY, max_retries=0, **options)


def with_tools(model: Any) -> object:
    """Ask with a tool, run it, and ask again with its result."""
    bound = model.bind_tools([get_weather])
    question = HumanMessage(QUESTION)
    call = bound.invoke([question])
    results = [ToolMessage(RESULT, tool_call_id=each["id"], name=each["name"]) for each in call.tool_calls]
    return bound.invoke([question, call, *results]).content


def with_parts(model: Any, *parts: dict[str, Any]) -> object:
    """Ask with pictures or documents."""
    return model.invoke([HumanMessage([{"type": "text", "text": QUESTION}, *parts])]).content


def with_agents(model: Any) -> object:
    """Let a named agent of LangGraph answer to a named user, after another named one has."""
    agent = create_react_agent(model, [get_weather], name="meteorologist", prompt=SYSTEM)
    said = [HumanMessage(QUESTION, name="alice"), AIMessage("Ask the meteorologist.", name="supervisor")]
    return agent.invoke({"messages": [*said, HumanMessage(QUESTION, name="alice")]})["messages"][-1].content


IMAGE = {"type": "image", "source_type": "base64", "data": PICTURE, "mime_type": "image/png"}
IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
FILE = {"type": "file", "source_type": "base64", "data": PAGE, "mime_type": "application/pdf", "filename": "page.pdf"}
THINKING = {"type": "enabled", "budget_tokens": 1024}

run(
    {
        "chat-plain": lambda case: chat(case).invoke(QUESTION).content,
        "chat-stream": lambda case: "".join(str(each.content) for each in chat(case).stream(QUESTION)),
        "chat-system": lambda case: chat(case).invoke([SystemMessage(SYSTEM), HumanMessage(QUESTION)]).content,
        "chat-temperature": lambda case: chat(case, temperature=1.4, seed=7).invoke(QUESTION).content,
        "chat-tools": lambda case: with_tools(chat(case)),
        "chat-picture": lambda case: with_parts(chat(case), IMAGE_URL, IMAGE),
        "chat-document": lambda case: with_parts(chat(case), FILE),
        "chat-structured": lambda case: chat(case).with_structured_output(Weather).invoke(QUESTION),
        "chat-structured-tool": lambda case: (
            chat(case).with_structured_output(Weather, method="function_calling").invoke(QUESTION)
        ),
        "chat-json": lambda case: (
            chat(case).with_structured_output(Weather, method="json_mode").invoke(f"{QUESTION} Answer in JSON.")
        ),
        "chat-thinking": lambda case: with_tools(chat(case, reasoning_effort="low")),
        "chat-agents": lambda case: with_agents(chat(case)),
        "messages-plain": lambda case: messages(case).invoke(QUESTION).content,
        "messages-stream": lambda case: "".join(str(each.content) for each in messages(case).stream(QUESTION)),
        "messages-system": lambda case: messages(case).invoke([SystemMessage(SYSTEM), HumanMessage(QUESTION)]).content,
        "messages-temperature": lambda case: messages(case, temperature=0.3, top_k=5).invoke(QUESTION).content,
        "messages-tools": lambda case: with_tools(messages(case)),
        "messages-picture": lambda case: with_parts(messages(case), IMAGE),
        "messages-document": lambda case: with_parts(messages(case), FILE),
        "messages-structured": lambda case: messages(case).with_structured_output(Weather).invoke(QUESTION),
        "messages-structured-schema": lambda case: (
            messages(case).with_structured_output(Weather, method="json_schema").invoke(QUESTION)
        ),
        "messages-thinking": lambda case: with_tools(messages(case, thinking=THINKING, max_tokens=2048)),
        "messages-agents": lambda case: with_agents(messages(case)),
    }
)
