"""Anthropic's own SDK: what it sends by itself."""

from __future__ import annotations

import anthropic
from anthropic import beta_tool
from asking import KEY, MESSAGES_MODEL, QUESTION, RESULT, root, run

MESSAGE = {"role": "user", "content": QUESTION}


@beta_tool
def get_weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: The city.
    """
    return f"{city}: {RESULT}"


def client(case: str) -> anthropic.Anthropic:
    """Return a client of the case's address."""
    return anthropic.Anthropic(api_key=KEY, base_url=root(case), max_retries=0)


def asked(case: str) -> object:
    """Ask once."""
    return client(case).messages.create(model=MESSAGES_MODEL, max_tokens=100, messages=[MESSAGE]).content


def streamed(case: str) -> object:
    """Ask for a stream."""
    with client(case).messages.stream(model=MESSAGES_MODEL, max_tokens=100, messages=[MESSAGE]) as stream:
        return stream.get_final_text()


def with_runner(case: str) -> object:
    """Let the SDK call the tool and ask again."""
    runner = client(case).beta.messages.tool_runner(
        model=MESSAGES_MODEL, max_tokens=100, tools=[get_weather], messages=[MESSAGE]
    )
    return runner.until_done().content


run({"messages-plain": asked, "messages-stream": streamed, "messages-tools": with_runner})
